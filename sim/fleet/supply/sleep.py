"""Sleep: a replica too many keeps its weights in host RAM and wakes in seconds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sim.schema import Config


class Sleep(Config):
    """A replica too many is put to sleep, its weights kept in host RAM, instead of being given up (vLLM, level 1).

    KV memory is lost. The next replica wanted is the one that fell asleep last, if any. A shared GPU serves another
    model meanwhile: nothing is paid while asleep, and waking may be refused as any start may (`p_unavailable`). A kept
    one is paid for, and wakes at once. Host RAM costs nothing here.
    """

    wake_s: float = Field(ge=0, description="median seconds from the order to accepting requests")
    fall_asleep_s: float = Field(0.0, ge=0, description="until the GPU is free; paid for, and too early to be woken")
    keep_s: float | None = Field(None, ge=0, description="asleep for so long, it is given up; null: never")
    gpu: Literal["kept", "shared"] = Field(description="whether the GPU of a sleeping replica stays paid for")
