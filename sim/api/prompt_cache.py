"""The prompt cache of a provider: which input tokens count as cached, and which as written to the cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Literal

from pydantic import Field

from sim.schema import Config
from sim.work import Request, Segment


class PromptCache(Config):
    """The rules of a provider's prompt cache. They decide which tokens count as cached, and with them the latency where
    it depends on uncached tokens (`api.ttft_s_per_uncached_token`).

    A hit counts from `min_tokens` on, and beyond them in whole steps of `step_tokens`. Written tokens matter where the
    price list has a price for them: none of a prompt below `min_tokens`; otherwise every token that was not read
    (`writes: whole_prompt`), or only those of them in segments that other prompts can share, where a client would set
    cache marks (`writes: marked`).

    Other prompts can read what a request wrote from its first token or from its end on (`readable_after`): of several
    requests with the same new prefix that are sent together, each writes it and none reads it.
    """

    min_tokens: int = Field(ge=0, description="shared prefixes shorter than this do not count")
    ttl_s: float = Field(gt=0, description="seconds after its last use (or writing) at which a prefix leaves the cache")
    step_tokens: int = Field(1, ge=1, description="hits beyond min_tokens count in steps of this many")
    renewed_by_hits: bool = Field(True, description="false: ttl_s counts from the last time the prefix was written")
    writes: Literal["whole_prompt", "marked"] = Field("whole_prompt", description="what a prompt writes to the cache")
    readable_after: Literal["first_token", "request_end", "at_once"] = Field(
        "first_token", description="when other prompts can first read what a request writes"
    )

    def counted(self, seen_tokens: int) -> int:
        """How many of `seen_tokens` leading tokens that the cache holds count as cached.

        >>> cache = PromptCache(min_tokens=1024, ttl_s=300, step_tokens=128)
        >>> [cache.counted(n) for n in (1023, 1024, 1151, 1152, 1300)]
        [0, 1024, 1024, 1152, 1280]
        """
        if seen_tokens < self.min_tokens:
            return 0
        return seen_tokens - (seen_tokens - self.min_tokens) % self.step_tokens

    def written_tokens(self, request: Request) -> int:
        """Tokens of its prompt that a request writes to the cache; those in `cached_input_tokens` it has read."""
        tokens = request.input_tokens
        if self.writes == "marked":
            tokens = min(tokens, sum(tokens for _, tokens in request.call.segments))
        return max(0, tokens - request.cached_input_tokens) if tokens >= self.min_tokens else 0


class SeenPrompts:
    """The contents of a provider's prompt cache in one run: how many tokens of each prompt segment it holds.

    A segment is recognised by its key, whatever precedes it in the prompt. Generated tokens enter it once a later
    prompt contains them. A prompt with more tokens of a segment than the cache holds writes the whole segment again. An
    entry's `ttl_s` begins with the admission of the request that writes it.
    """

    def __init__(self, cache: PromptCache):
        self.cache = cache
        self._streams: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # (last use, tokens), by last use
        self._writes: list[tuple[float, int, float, Hashable, int]] = []  # heap: (readable, number, begun, key, tokens)
        self._n_writes = 0

    def __len__(self) -> int:
        return len(self._streams)

    def look(self, segments: tuple[Segment, ...], now_s: float) -> int:
        """Leading tokens of this prompt that count as cached now. No entry is changed."""
        self._bring_up_to_date(now_s)
        cached = 0
        for key, tokens in segments:
            known = self._streams.get(key, (0.0, 0))[1]
            cached += min(known, tokens)
            if known < tokens:
                break
        return self.cache.counted(cached)

    def read(self, segments: tuple[Segment, ...], now_s: float) -> int:
        """Leading tokens of this prompt that count as cached. Renews the entries that it reads or will write."""
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
        """Record the writes of a prompt admitted at `now_s`, which other prompts can read from `readable_s` on."""
        for key, tokens in segments:
            if self._streams[key][1] < tokens:
                self._n_writes += 1
                heappush(self._writes, (readable_s, self._n_writes, now_s, key, tokens))

    def _bring_up_to_date(self, now_s: float) -> None:
        """Apply the writes that have become readable, then remove the entries older than `ttl_s`."""
        streams, writes, oldest_s = self._streams, self._writes, now_s - self.cache.ttl_s
        while writes and writes[0][0] <= now_s:
            _, _, begun_s, key, tokens = heappop(writes)
            if key in streams and begun_s >= oldest_s:
                last_s, known = streams[key]
                streams[key] = (last_s, max(known, tokens))
        while streams and next(iter(streams.values()))[0] < oldest_s:
            streams.popitem(last=False)
