"""The roofline step time as a kind that a config can choose.

It stands in a file of its own because `roofline` is compiled, and a typed config cannot be a compiled class.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model
from sim.hardware.step_time.experts import Experts
from sim.hardware.step_time.model import StepTimeModel
from sim.hardware.step_time.protocol import SharedTime, StepTime
from sim.hardware.step_time.roofline import Roofline


class RooflineModel(StepTimeModel):
    """Step times from bytes, operations, links and overheads of this GPU, model and engine (`Roofline`)."""

    kind: Literal["roofline"] = "roofline"

    def plain(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1) -> StepTime:
        """The roofline of one tensor-parallel group (see `StepTimeModel.plain`)."""
        return Roofline(gpu, model, engine, decode_tokens)

    def shared(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1) -> SharedTime:
        """The routed experts of the tokens of all ranks (see `StepTimeModel.shared`)."""
        seconds = cache(Experts(gpu, model, engine).seconds)
        return lambda n_decode, prompt_tokens: seconds(n_decode * decode_tokens + prompt_tokens)
