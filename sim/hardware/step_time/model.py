"""StepTimeModel: the base class of the ways to get an engine's step times that a config can choose from."""

from __future__ import annotations

from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model
from sim.hardware.step_time.protocol import StepTime
from sim.hardware.step_time.speculative import SpeculativeStepTime
from sim.schema import Choice


class StepTimeModel(Choice):
    """A way to get step times for a GPU, a model and an engine. A kind implements `plain`."""

    def plain(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1) -> StepTime:
        """The step time without speculation, of a decode step that computes `decode_tokens` tokens of every sequence.

        The result keeps the laws of `StepTime`, and does not decrease with `decode_tokens`.
        """
        raise NotImplementedError

    def build(self, gpu: Gpu, model: Model, engine: EngineFlags) -> StepTime:
        """The step time of this engine, with speculative decoding if `engine.speculative` is set."""
        plain = self.plain(gpu, model, engine)
        if engine.speculative is None:
            return plain
        verifying = self.plain(gpu, model, engine, engine.tokens_per_decode)
        return SpeculativeStepTime(plain, verifying, engine.speculative)
