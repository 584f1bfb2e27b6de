"""StepTimeModel: the base class of the ways to get an engine's step times that a config can choose from."""

from __future__ import annotations

from sim.hardware.flags import EngineFlags
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model
from sim.hardware.step_time.detokenized import DetokenizedStepTime
from sim.hardware.step_time.lockstep import EvenRanks, Lockstep
from sim.hardware.step_time.protocol import SharedTime, StepTime
from sim.hardware.step_time.speculative import SpeculativeStepTime, speculative_shared
from sim.schema import Choice


class StepTimeModel(Choice):
    """A way to get step times for a GPU, a model and an engine.

    The contract of every kind, asked of each kind and each file of conf/engine by tests/contracts/test_step_time.py.
    A kind defines `plain`, and `shared` if attention ranks share work; `build` adds speculative decoding and
    detokenizers. Of the StepTime that `build` returns:

    1. `decode_s(n)` is > 0 for n >= 0 and does not fall as n grows. `context_s` is >= 0.
    2. `step_s(n, context, chunks)` does not fall if n, the context, the new or past tokens of a chunk, or the number of
       chunks grows, or if a chunk completes its prompt.
    3. `step_s(n, context, ())` equals `decode_s(n) + context_s * context` to the last bit, so k decode steps of the
       same n sequences add up to the closed form in `StepTime`.
    4. Computing a prompt in several chunks takes longer than in one.
    5. Results depend on the arguments alone.

    >>> import sim
    >>> one = sim.scenario("gpu=h100_sxm", "model=llama_3_1_8b")
    >>> step_time = one.engine.step_time.build(one.gpu, one.model, one.engine)
    >>> 0.001 < step_time.decode_s(1) < step_time.decode_s(64) < 0.1  # seconds
    True
    """

    def plain(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1) -> StepTime:
        """The step time without speculation, of a decode step that computes `decode_tokens` tokens of every sequence.

        The result keeps the laws of `StepTime`, and does not decrease with `decode_tokens`. Of an engine of several
        attention ranks, it is what one of them computes by itself.
        """
        raise NotImplementedError

    def shared(self, gpu: Gpu, model: Model, engine: EngineFlags, decode_tokens: int = 1) -> SharedTime:
        """What the attention ranks of an engine compute together, by the rules of `LockstepTime.shared_s`: nothing."""
        return lambda n_decode, prompt_tokens: 0.0

    def build(self, gpu: Gpu, model: Model, engine: EngineFlags) -> StepTime:
        """The step time of this engine, with speculative decoding and detokenizers where `engine` has them.

        Under speculation, too, a step counts as one token of every sequence. Of several attention ranks, it is that of
        a replica whose work is spread over them evenly.
        """
        ranks = engine.attention_data_parallel
        if ranks > 1:
            return EvenRanks(self.lockstep(gpu, model, engine), ranks)
        return self.rank(gpu, model, engine)

    def lockstep(self, gpu: Gpu, model: Model, engine: EngineFlags) -> Lockstep:
        """The step time of an engine of several attention ranks."""
        shared = self.shared(gpu, model, engine)
        if engine.speculative is not None:
            verifying = self.shared(gpu, model, engine, engine.tokens_per_decode)
            shared = speculative_shared(shared, verifying, engine.speculative)
        return Lockstep(self.rank(gpu, model, engine), shared)

    def rank(self, gpu: Gpu, model: Model, engine: EngineFlags) -> StepTime:
        """What one attention rank computes by itself; all that the engine computes if it has only one."""
        found = self.plain(gpu, model, engine)
        if engine.speculative is not None:
            verifying = self.plain(gpu, model, engine, engine.tokens_per_decode)
            found = SpeculativeStepTime(found, verifying, engine.speculative)
        if engine.host is not None and engine.host.answer_token_s:
            found = DetokenizedStepTime(found, engine.host.answer_token_s)
        return found
