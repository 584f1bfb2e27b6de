"""Sequence: one request while it waits or runs on a replica."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from sim.engine.kv_memory import Hold, KvMemory
from sim.work import Losses, Request, Segment


class Sequence:
    """What is left to compute of one request, and the KV blocks that it holds.

    A preempted sequence starts again with a longer prompt: the tokens that it had generated are part of the prompt.
    """

    __slots__ = (
        "request", "prompt_tokens", "left_tokens", "computed_tokens", "is_decoding", "end_step", "slot",
        "shared_blocks", "segments", "holds", "preempted_s", "lost_tokens", "ready_step", "last_token_s",
        "load_state", "ready_s", "reserved_blocks", "admitted_before", "admitted_after",
    )  # fmt: skip

    def __init__(self, request: Request):
        self.request = request
        self.prompt_tokens = request.input_tokens  # tokens to prefill, those generated before a preemption included
        # Tokens to generate after the prompt; decoding does not change it. The engine does not know that a client will
        # stop the answer, so these tokens are no measure of what it must expect.
        self.left_tokens = request.output_tokens - request.unsent_tokens
        self.computed_tokens = 0  # leading prompt tokens whose KV is in memory
        self.is_decoding = False
        self.end_step = 0  # while decoding, number of the step that generates the last token
        self.slot = 0  # while decoding, it needs a new KV block at steps whose number modulo the block size is this
        self.shared_blocks = 0  # those of its KV blocks that belong to streams, which other sequences may share
        self.segments: tuple[Segment, ...] = request.call.segments
        self.admitted_before: Sequence | None = None  # its neighbours in the batch (see `Running`)
        self.admitted_after: Sequence | None = None
        self.holds: list[Hold] | None = None  # the streams that it holds, if it runs with prefix caching
        self.ready_step = 0  # number of the first step that may compute it
        self.preempted_s: float | None = None  # when it was last preempted, here or by the loss of a replica
        self.lost_tokens = 0  # its tokens in KV memory at that moment
        self.load_state = 0  # 1 while it is loaded from a KV tier, 2 from then until it is admitted
        self.ready_s = 0.0  # when its last load is over
        self.reserved_blocks = 0  # KV blocks that it has taken for what is left to compute of its prompt
        self.last_token_s: float | None = None  # when its client got a token before it left a batch; None while it runs

    def decoded_tokens(self, step: int) -> int:
        """Tokens that a decoding sequence has in KV memory at the start of the step with number `step`."""
        return self.prompt_tokens + step - self.first_decode_step

    @property
    def generated_before(self) -> int:
        """Tokens of the answer that were generated before it was last admitted."""
        return self.request.output_tokens - self.request.unsent_tokens - self.left_tokens

    @property
    def first_decode_step(self) -> int:
        """Number of the first step, since it was last admitted, that decodes it."""
        assert self.is_decoding
        return self.end_step - self.left_tokens + 2

    def name_own_stream(self, memory: KvMemory) -> None:
        """Extend `segments` over all tokens of the prompt, so that a prefix lookup after a preemption finds them.

        Tokens that belong to no stream yet get one whose key is the sequence itself.
        """
        segments = self.segments
        if not segments or not (segments[-1][0] is self or self.request.call.extends_prefix):
            segments += ((self, 0),)
            self.holds = memory.hold_another(self.holds or [], self)
        head = segments[:-1]
        self.segments = (*head, (segments[-1][0], self.prompt_tokens - sum(tokens for _, tokens in head)))

    def take_up(self, losses: Losses) -> None:
        """Continue a request that a lost replica had begun: the tokens generated there become part of the prompt."""
        generated = losses.generated_tokens
        self.prompt_tokens += generated
        self.left_tokens -= generated
        self.preempted_s, self.lost_tokens = losses.lost_s, losses.computed_tokens
        self.last_token_s = losses.last_token_s
        if generated and self.segments and self.request.call.extends_prefix:
            (key, tokens), head = self.segments[-1], self.segments[:-1]
            self.segments = (*head, (key, tokens + generated))
