"""Engine: the flags of a serving engine, and the model of how long one of its steps takes."""

from __future__ import annotations

from sim.hardware.flags import EngineFlags
from sim.hardware.step_time.from_roofline import RooflineModel
from sim.hardware.step_time.model import StepTimeModel
from sim.schema import OneOf


class Engine(EngineFlags):
    """A serving engine for one replica: its flags, and the model that yields its step times in seconds."""

    step_time: OneOf[StepTimeModel] = RooflineModel()
