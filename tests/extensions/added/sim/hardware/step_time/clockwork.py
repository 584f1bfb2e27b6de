"""A step time that never changes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model
from sim.hardware.step_time.affine import AffineStepTime
from sim.hardware.step_time.model import StepTimeModel
from sim.hardware.step_time.protocol import StepTime


class Clockwork(StepTimeModel):
    """Every step takes as long."""

    kind: Literal["clockwork"] = "clockwork"
    step_s: float = Field(gt=0)

    def plain(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1) -> StepTime:
        return AffineStepTime(base_s=self.step_s)
