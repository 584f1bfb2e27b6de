"""Step times from first principles, as a choice. Apart from the compiled `roofline`, which may hold no typed config."""

from __future__ import annotations

from typing import Literal

from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model
from sim.hardware.step_time.model import StepTimeModel
from sim.hardware.step_time.protocol import StepTime
from sim.hardware.step_time.roofline import Roofline


class RooflineModel(StepTimeModel):
    """From first principles: bytes, operations, links and overheads of this GPU, model and engine (`Roofline`)."""

    kind: Literal["roofline"] = "roofline"

    def plain(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1) -> StepTime:
        return Roofline(gpu, model, engine, decode_tokens)
