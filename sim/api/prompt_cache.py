"""The prompts a provider remembers: what counts as cached input, and what as written to the cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Literal

from pydantic import Field

from sim.schema import Config
from sim.work import Request, Segment


class PromptCache(Config):
    """Which prompts a provider recognises. Tokens that count as cached follow from it, and the latency if it depends on
    the uncached ones (`api.ttft_s_per_uncached_token`).

    Hits count from `min_tokens` on, beyond them in whole steps of `step_tokens`. What a prompt writes matters where the
    price list has a price for it: nothing below `min_tokens`; else all that was not read (`writes: whole_prompt`), or
    of that only what other prompts may share, where the client has set its marks (`writes: marked`).

    What a request writes can be read from its own first token on, or from its end (`readable_after`): of requests with
    one new prefix that are sent together, each writes it and none reads it.
    """

    min_tokens: int = Field(ge=0, description="shared prefixes shorter than this do not count")
    ttl_s: float = Field(gt=0, description="seconds without use (or since writing) after which a prefix is forgotten")
    step_tokens: int = Field(1, ge=1, description="hits beyond min_tokens count in steps of this many")
    renewed_by_hits: bool = Field(True, description="false: ttl_s counts from when a prefix was last written")
    writes: Literal["whole_prompt", "marked"] = Field("whole_prompt", description="what a prompt writes to the cache")
    readable_after: Literal["first_token", "request_end", "at_once"] = Field(
        "first_token", description="from when on other prompts can read what a request writes"
    )

    def counted(self, seen_tokens: int) -> int:
        """How many of the leading tokens seen before count as cached.

        >>> cache = PromptCache(min_tokens=1024, ttl_s=300, step_tokens=128)
        >>> [cache.counted(n) for n in (1023, 1024, 1151, 1152, 1300)]
        [0, 1024, 1024, 1152, 1280]
        """
        if seen_tokens < self.min_tokens:
            return 0
        return seen_tokens - (seen_tokens - self.min_tokens) % self.step_tokens

    def written_tokens(self, request: Request) -> int:
        """Tokens of its prompt that a request writes to the cache, `cached_input_tokens` being those it read."""
        tokens = request.input_tokens
        if self.writes == "marked":
            tokens = min(tokens, sum(tokens for _, tokens in request.call.segments))
        return max(0, tokens - request.cached_input_tokens) if tokens >= self.min_tokens else 0


class SeenPrompts:
    """The prompt streams that a provider can read from its cache, and how many tokens of each. Forgets as `cache` says.

    A stream is recognised by its key whatever preceded it in the prompt; generated tokens count once they come back in
    a prompt. A prompt that goes beyond what is known of a stream writes all of it anew. The life of an entry begins
    when the request that writes it is let in.
    """

    def __init__(self, cache: PromptCache):
        self.cache = cache
        self._streams: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # (last use, tokens), by last use
        self._writes: list[tuple[float, int, float, Hashable, int]] = []  # heap: (readable, number, begun, key, tokens)
        self._n_writes = 0

    def __len__(self) -> int:
        return len(self._streams)

    def look(self, segments: tuple[Segment, ...], now_s: float) -> int:
        """Leading tokens of this prompt that would count as cached; nothing is remembered."""
        self._bring_up_to_date(now_s)
        cached = 0
        for key, tokens in segments:
            known = self._streams.get(key, (0.0, 0))[1]
            cached += min(known, tokens)
            if known < tokens:
                break
        return self.cache.counted(cached)

    def read(self, segments: tuple[Segment, ...], now_s: float) -> int:
        """Leading tokens of this prompt that count as cached. The life of what it uses or will write begins anew."""
        cached = self.look(segments, now_s)
        streams, renewed = self._streams, self.cache.renewed_by_hits
        for key, tokens in segments:
            last_s, known = streams.get(key, (0.0, 0))
            if renewed or known < tokens:
                last_s = now_s
                streams.pop(key, None)
            streams[key] = (last_s, known)
        return cached

    def write(self, segments: tuple[Segment, ...], now_s: float, readable_s: float) -> None:
        """Remember a prompt that was let in at `now_s`; others can read it from `readable_s` on."""
        for key, tokens in segments:
            if self._streams[key][1] < tokens:
                self._n_writes += 1
                heappush(self._writes, (readable_s, self._n_writes, now_s, key, tokens))

    def _bring_up_to_date(self, now_s: float) -> None:
        streams, writes, oldest_s = self._streams, self._writes, now_s - self.cache.ttl_s
        while writes and writes[0][0] <= now_s:
            _, _, begun_s, key, tokens = heappop(writes)
            if key in streams and begun_s >= oldest_s:
                last_s, known = streams[key]
                streams[key] = (last_s, max(known, tokens))
        while streams and next(iter(streams.values()))[0] < oldest_s:
            streams.popitem(last=False)
