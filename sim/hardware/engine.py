"""Engine: a serving engine's flags, and the law that its steps take time by."""

from __future__ import annotations

from sim.hardware.flags import EngineFlags
from sim.hardware.step_time.from_roofline import RooflineModel
from sim.hardware.step_time.model import StepTimeModel
from sim.schema import OneOf


class Engine(EngineFlags):
    """A serving engine for one replica: its flags, and where its step times come from."""

    step_time: OneOf[StepTimeModel] = RooflineModel()
