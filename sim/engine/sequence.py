"""The engine's notes on one request."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from sim.engine.kv_memory import Hold, KvMemory
from sim.work import Losses, Request, Segment


class Sequence:
    """What is left to compute of one request, and what memory it holds."""

    __slots__ = (
        "request", "prompt_tokens", "left_tokens", "computed_tokens", "end_step", "slot",
        "shared_blocks", "segments", "holds", "preempted_s", "lost_tokens", "ready_step",
    )  # fmt: skip

    def __init__(self, request: Request):
        self.request = request
        self.prompt_tokens = request.input_tokens  # after a preemption: with what was generated before it
        self.left_tokens = request.output_tokens
        self.computed_tokens = 0
        self.end_step: int | None = None  # the step that generates the last token; None while not decoding
        self.slot = 0
        self.shared_blocks = 0  # of its blocks, those that belong to streams
        self.segments: tuple[Segment, ...] = request.call.segments
        self.holds: list[Hold] | None = None
        self.ready_step = 0  # the first step it may take part in
        self.preempted_s: float | None = None  # when it last was, and its tokens in KV memory then
        self.lost_tokens = 0

    def decoded_tokens(self, step: int) -> int:
        """Its tokens in KV memory at the start of a step, while it decodes."""
        assert self.end_step is not None
        return self.prompt_tokens + step - (self.end_step - self.left_tokens + 2)

    def name_own_stream(self, memory: KvMemory) -> None:
        """Let all of its tokens be found again after a preemption, under a key of its own if no stream has them."""
        segments = self.segments
        if not segments or not (segments[-1][0] is self or self.request.call.extends_prefix):
            segments += ((self, 0),)
            self.holds = memory.hold_another(self.holds or [], self)
        head = segments[:-1]
        self.segments = (*head, (segments[-1][0], self.prompt_tokens - sum(tokens for _, tokens in head)))

    def take_up(self, losses: Losses) -> None:
        """Go on with a request that another replica had begun: what it had generated is part of the prompt."""
        generated = losses.generated_tokens
        self.prompt_tokens += generated
        self.left_tokens -= generated
        self.preempted_s, self.lost_tokens = losses.lost_s, losses.computed_tokens
        if generated and self.segments and self.request.call.extends_prefix:
            (key, tokens), head = self.segments[-1], self.segments[:-1]
            self.segments = (*head, (key, tokens + generated))
