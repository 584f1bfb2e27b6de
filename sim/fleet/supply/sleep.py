"""Sleep: an excess replica keeps its weights in host RAM and wakes in seconds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sim.schema import Config


class Sleep(Config):
    """An excess replica is put to sleep, with its weights in host RAM, instead of being released (vLLM's level 1).

    KV memory is lost. When the scaler wants one more replica, the one that fell asleep last wakes. With a `shared` GPU,
    which serves another model meanwhile, nothing is paid while asleep, and waking may be refused as any start may
    (`p_unavailable`). A `kept` GPU is paid for while asleep, and waking is never refused. Host RAM costs nothing.
    """

    wake_s: float = Field(ge=0, description="median seconds from the order to accepting requests")
    fall_asleep_s: float = Field(
        0.0, ge=0, description="seconds until the GPU is free: paid for, and the replica cannot be woken before"
    )
    keep_s: float | None = Field(None, ge=0, description="seconds asleep after which it is released; null: never")
    gpu: Literal["kept", "shared"] = Field(description="whether the GPU of a sleeping replica stays paid for")
