"""KV tiers in time: which prompts the memory of a host, a disk or a remote store still has, and how long a load takes.

A tier holds leading blocks of prompts, as the KV memory of the GPUs does, but nothing in it is in use for longer than a
moment: it is a KV memory that keeps everything for as long as there is room, the least recently used evicted first.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from sim.engine.kv_memory import KvMemory
from sim.work import Segment


class Tier:
    """One tier: `blocks` KV blocks of `block_tokens` tokens, each loaded in `block_s` seconds, after `latency_s`.

    `number`: its place in the list of tiers. Loads take turns on the link, first come first served.
    """

    def __init__(self, number: int, blocks: int, block_tokens: int, block_s: float, latency_s: float):
        self.number = number
        self.memory = KvMemory(blocks, block_tokens)
        self._block_s, self._latency_s = block_s, latency_s
        self._free_s = 0.0  # when the link has done all loads so far

    def resident(self, segments: tuple[Segment, ...], prompt_tokens: int) -> int:
        """How many leading blocks of a prompt the tier has; the block of its last token never counts."""
        return self.memory.find(segments, prompt_tokens)[1]

    def load(self, segments: tuple[Segment, ...], prompt_tokens: int, blocks: int, now: float) -> float:
        """The moment at which `blocks` blocks of a prompt that is looked up now have arrived in the GPUs."""
        found, _, _ = self.memory.find(segments, prompt_tokens)
        self.memory.let_go(self.memory.hold(found))  # so that they are the most recently used
        self._free_s = max(self._free_s, now) + self._latency_s + blocks * self._block_s
        return self._free_s

    def store(self, segments: tuple[Segment, ...], tokens: int) -> None:
        """Write the full blocks of the first `tokens` tokens of a prompt, of which those in the tier are used again."""
        memory, size = self.memory, self.memory.block_tokens
        found, hit, _ = memory.find(segments, tokens + 1)
        holds = memory.hold(found)
        new = min(tokens // size - hit, memory.available_blocks)
        memory.available_blocks -= new
        memory.available_blocks += new - memory.publish(holds, (hit + new) * size, False)
        memory.let_go(holds)
