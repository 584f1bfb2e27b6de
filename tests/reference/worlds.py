"""Small random worlds, each played by the plain engine and by the replica, and what the two must agree on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, count
from math import inf

import numpy as np
import simpy

from sim.clock import call_later
from sim.engine.hosted import HostedReplica
from sim.engine.kv_tiers import Tier
from sim.engine.replica import Replica
from sim.gap_histogram import EDGES_S, GapHistogram
from sim.hardware.host import HostTime
from sim.hardware.prefill_first import PrefillFirst
from sim.hardware.speculation import Speculation
from sim.hardware.step_time.speculative import SpeculativeStepTime
from sim.work import Call, Outcome, Request, Task
from tests.reference.prefill_first import PrefillFirstEngine
from tests.reference.stepping import SteppingEngine

AGREED = ("outcome", "output_tokens", "tier_hits", "cached_input_tokens", "preemptions", "recomputed_tokens")
AGREED_S = ("admitted_s", "decode_admitted_s", "first_token_s", "finished_s", "preempted_s", "longest_gap_s")
TOLERANCE_S = 1e-9
GOES_ON = (Outcome.FINISHED, Outcome.STOPPED)


class ProbeStepTime:
    """A step time in which everything a step contains leaves its own trace."""

    def __init__(self, base_s, per_sequence_s, context_s, per_token_s, per_pair_s, per_prompt_s):
        self.base_s, self.per_sequence_s, self.context_s = base_s, per_sequence_s, context_s
        self.per_token_s, self.per_pair_s, self.per_prompt_s = per_token_s, per_pair_s, per_prompt_s

    def decode_s(self, n_sequences):
        return self.base_s + self.per_sequence_s * n_sequences

    def step_s(self, n_decode, context_tokens, chunks):
        duration_s = self.decode_s(n_decode) + self.context_s * context_tokens
        for new, past, completes in chunks:
            duration_s += self.per_token_s * new + self.per_pair_s * new * past + self.per_prompt_s * completes
        return duration_s


@dataclass(frozen=True)
class World:
    tasks: list[Task]
    step_time: ProbeStepTime
    engine: dict
    patience_s: float = inf
    timeout_s: float = inf
    read_tokens: dict[tuple[int, int], int] = field(default_factory=dict)  # of answers that are stopped, by call
    gaps_from_s: float = 0.0  # only gaps between tokens that end later are counted

    @property
    def has_repeated_prompts(self) -> bool:
        """Whether most prompts may be found, as they are made of texts that others have, too."""
        named = [bool(call.segments) for task in self.tasks for call in task.calls]
        return len(named) > 8 and sum(named) > 0.8 * len(named)


def draw_world(seed: int) -> World:
    """Everything from lone requests in ample memory to agents that throw each other out of a few blocks."""
    rng = np.random.default_rng(seed)
    block_tokens = int(rng.choice([1, 2, 4, 8, 16]))
    kind = rng.choice(["single", "shared", "agents", "chains", "mix"])
    on_the_beat = bool(rng.random() < 0.3)  # all times are multiples of 2^-10 s: arrivals meet step ends exactly
    scale = rng.choice([4, 12, 40])
    n_tasks = int(rng.integers(3, 25))
    arrived_s = np.cumsum(rng.exponential(rng.choice([0.001, 0.05, 0.3]), n_tasks) * (rng.random(n_tasks) < 0.7))
    arrived_s = np.round(arrived_s * 1024) / 1024 if on_the_beat else arrived_s
    shapes = {"single": single, "shared": shared, "agents": agent, "chains": chain}
    texts = TextBook(rng, block_tokens, on_the_beat, scale)
    tasks = []
    for i, at_s in enumerate(arrived_s.tolist()):
        shape = shapes[kind] if kind in shapes else list(shapes.values())[rng.integers(4)]
        tasks.append(Task(i, at_s, shape(texts, i)))
    largest = max(c.input_tokens + c.output_tokens - 1 for t in tasks for c in t.calls)
    blocks = -(-largest // block_tokens)
    max_num_seqs = int(rng.choice([1, 2, 4, 16, 64]))
    engine = {
        "kv_blocks": max(1, int(blocks * rng.choice([0.8, 1.0, 1.0, 1.5, 3, 20]))),
        "max_num_seqs": max_num_seqs,
        "max_num_batched_tokens": max_num_seqs + int(rng.choice([0, 3, 10, 30, 500])),
        "block_tokens": block_tokens,
        "prefix_caching": bool(rng.random() < 0.85),
    }
    patience_s = float(rng.choice([0.125, 0.5, 2.0])) if rng.random() < 0.15 else inf
    engine["async_scheduling"] = bool(rng.random() < 0.5)
    step_time = _step_time(rng, on_the_beat)
    if rng.random() < 0.4:
        engine["scheduling_policy"] = "priority"
        tasks = [task._replace(priority=int(rng.integers(-1, 3))) for task in tasks]
    if rng.random() < 0.2:
        engine["max_queue"] = int(rng.integers(0, 4))
    if rng.random() < 0.2:
        drafts = int(rng.choice([1, 3]))
        engine["decode_tokens"] = drafts + 1
        engine["max_num_batched_tokens"] += max_num_seqs * drafts
        step_time = _speculative(rng, step_time, drafts, on_the_beat)
    if rng.random() < 0.15 and "scheduling_policy" not in engine:
        engine["decodes_only"], patience_s = True, inf
        tasks = [t._replace(calls=tuple(c._replace(output_tokens=c.output_tokens + 1) for c in t.calls)) for t in tasks]
    if rng.random() < 0.2 and not engine.keys() & {"scheduling_policy", "decodes_only"}:
        engine["capacity_policy"] = "guaranteed_no_evict"
    if rng.random() < 0.3:
        engine["chunked_prefill"] = False
        needed = max_num_seqs * engine.get("decode_tokens", 1)
        engine["max_num_batched_tokens"] = max(needed, int(largest * rng.choice([0.6, 1.0, 1.1])))
    gaps_from_s = float(rng.choice([0.0, 0.3001]))  # not on the beat: no gap ends at that very moment
    timeout_s, read_tokens = inf, {}
    if rng.random() < 0.2:
        share, calls = rng.choice([0.2, 1.0]), [(t.task_id, i) for t in tasks for i in range(len(t.calls))]
        read_tokens = {call: int(rng.integers(1, scale + 1)) for call in calls if rng.random() < share}
    if rng.random() < 0.2 and "decodes_only" not in engine:
        timeout_s = float(rng.choice([0.25, 1.0, 4.0]))
    if rng.random() < 0.3 and "scheduling_policy" not in engine:
        engine["scheduler_reserve_full_isl"] = True
    if rng.random() < 0.3 and "scheduling_policy" not in engine:
        engine["blank_blocks_first"] = True
    return World(tasks, step_time, engine, patience_s, timeout_s, read_tokens, gaps_from_s)


def draw_tiered_world(seed: int) -> World:
    """A world of prompts that repeat each other, in little memory with KV tiers behind it."""
    world = next(w for s in count() if (w := draw_world(seed + 100_000 * s)).has_repeated_prompts)
    rng, engine = np.random.default_rng([seed, 1]), dict(world.engine)
    for option in ("scheduling_policy", "capacity_policy", "decodes_only", "chunked_prefill"):
        engine.pop(option, None)
    largest = max(c.input_tokens + c.output_tokens - 1 for t in world.tasks for c in t.calls)
    blocks = -(-largest // engine["block_tokens"])
    sizes, speeds = rng.choice([[0.5, 5], [2, 50], [5, 5]]), rng.choice([0, 1, 20], 2) / 1024
    tiers = [
        (1 + int(n * blocks), float(s), float(rng.choice([0, 4]) / 1024)) for n, s in zip(sizes, speeds, strict=True)
    ]
    engine |= {
        "kv_tiers": tiers[: int(rng.integers(1, 3))],
        "kv_blocks": int(blocks * rng.choice([1.0, 1.3, 2, 3])),
        "prefix_caching": True,
        "max_num_seqs": max(2, engine["max_num_seqs"]),
    }
    engine["max_num_batched_tokens"] += 2 * engine.get("decode_tokens", 1)
    return replace(world, engine=engine, patience_s=float(rng.choice([0.125, inf])))


@dataclass(frozen=True)
class ProbeLockstep:
    """A step time of several ranks: what each does by itself, and what the tokens of all take together."""

    own: ProbeStepTime | SpeculativeStepTime
    per_sequence_s: float
    per_token_s: float

    def shared_s(self, n_decode: int, prompt_tokens: int) -> float:
        return self.per_sequence_s * n_decode + self.per_token_s * prompt_tokens


def draw_lockstep_world(seed: int) -> World:
    """A world whose engine has several attention ranks, of which one in three computes prompts before answers."""
    rng = np.random.default_rng([seed, 3])
    world = draw_world(seed) if seed % 3 else draw_prefill_first_world(seed)
    on_the_beat = all((task.arrived_s * 1024).is_integer() for task in world.tasks)
    together_s = rng.integers(0, 3, 2) / 1024 if on_the_beat else rng.random(2) * (2e-3, 2e-4)
    own = world.step_time
    if not isinstance(own, SpeculativeStepTime) and rng.random() < 0.5:  # few with long contexts, overtaken by many
        own = ProbeStepTime(*(vars(own) | {"per_sequence_s": 0.0, "context_s": 4 / 1024}).values())
    engine = world.engine | {"n_ranks": int(rng.choice([1, 2, 3, 5]))}
    engine["max_num_seqs"] = min(engine["max_num_seqs"], int(rng.choice([2, 4, 64])))
    return replace(world, step_time=ProbeLockstep(own, *together_s.tolist()), engine=engine)


def draw_hosted_world(seed: int) -> World:
    """A world in which prompts are tokenized first: about as fast as the engine takes them, or faster."""
    world = next(w for s in count() if "decodes_only" not in (w := draw_world(seed + 100_000 * s)).engine)
    rng = np.random.default_rng([seed, 2])
    token_s = float(rng.choice([1, 2, 8]) / 1024 / rng.choice([1, 7]))
    return replace(world, engine=world.engine | {"host": (token_s, int(rng.choice([1, 1, 2, 5])))})


def draw_prefill_first_world(seed: int) -> World:
    """A world whose engine computes prompts before answers, often in little memory, at some ratio that falls fast."""
    world, rng = draw_world(seed), np.random.default_rng([seed, 2])
    engine = dict(world.engine)
    for option in ("scheduling_policy", "capacity_policy", "chunked_prefill", "scheduler_reserve_full_isl"):
        engine.pop(option, None)
    size, decodes_only = engine["block_tokens"], engine.pop("decodes_only", False)
    largest = max(c.input_tokens + c.output_tokens + 1 for t in world.tasks for c in t.calls)
    ratio = float(rng.choice([0.0, 0.3, 0.7, 1.0]))
    engine |= {
        "kv_blocks": max(1, int(-(-largest // size) * rng.choice([0.8, 1.0, 1.0, 1.5, 3, 20]))),
        "max_num_batched_tokens": size * int(rng.choice([1, 2, 5, 100])) + int(rng.integers(0, size)),
        "blank_blocks_first": bool(rng.random() < 0.7),
        "prefill_first": PrefillFirst(
            max_prefill_tokens=int(rng.choice([5, 40, 16_384])),
            new_token_ratio=ratio,
            least_new_token_ratio=ratio * float(rng.choice([0.0, 0.5])),
            ratio_decay_steps=int(rng.choice([3, 40])),
            most_expected_tokens=int(rng.choice([4, 4096])),
            retract_decode_steps=int(rng.choice([0, 20])),
            schedule_policy=str(rng.choice(["fcfs", "lpm"])),
            lpm_most_waiting=int(rng.choice([4, 128])),
            lpm_shared_tokens=int(rng.choice([1, 8, 32])),
        ),
    }
    timeout_s = float(rng.choice([0.25, 1.0])) if decodes_only else world.timeout_s
    return replace(world, engine=engine, timeout_s=timeout_s)


def new_request(world: World, task: Task, index: int, at_s: float) -> Request:
    """A request as it comes to the engine of this world."""
    request = Request(task, index, at_s)
    if world.engine.get("decodes_only"):
        request.admitted_s = request.first_token_s = at_s
    read = world.read_tokens.get((task.task_id, index), inf)
    if read < request.output_tokens:
        request.ends_as, request.unsent_tokens = Outcome.STOPPED, request.output_tokens - int(read) - 1
    return request


def _step_time(rng, on_the_beat: bool) -> ProbeStepTime:
    if on_the_beat:
        return ProbeStepTime(*(int(k) / 1024 for k in rng.integers((1, 0, 0, 0, 0, 0), (20, 4, 2, 3, 2, 3))))
    most = np.array([0.02, 0.002, 1e-4, 1e-4, 1e-6, 1e-3])
    present = rng.random(6) < (1, 0.8, 0.8, 0.8, 0.8, 0.8)
    return ProbeStepTime(*(rng.random(6) * most * present + (1e-4, 0, 0, 0, 0, 0)).tolist())


def _speculative(rng, plain: ProbeStepTime, drafts: int, on_the_beat: bool) -> SpeculativeStepTime:
    verifying = ProbeStepTime(plain.base_s, *(2 * x for x in list(vars(plain).values())[1:]))
    acceptance, cost = (1.0, 0.25) if on_the_beat else rng.random(2)  # 2 or 4 tokens per step keep to the beat
    speculation = Speculation(draft_tokens=drafts, acceptance_rate=acceptance, draft_cost_fraction=cost)
    return SpeculativeStepTime(plain, verifying, speculation)


class TextBook:
    """What prompts are made of in one world: shared texts, sizes and waits."""

    def __init__(self, rng, block_tokens: int, on_the_beat: bool, scale: int):
        self.rng, self.on_the_beat, self.scale = rng, on_the_beat, scale
        self.shared_tokens = int(rng.integers(1, 4 * scale))
        self.chunk_tokens = block_tokens * int(rng.integers(1, 5))
        self.chains: list[list[str]] = [[]]

    def tokens(self) -> int:
        return 1 + int(self.rng.geometric(1 / self.scale))

    def output(self) -> int:
        return 1 if self.rng.random() < 0.1 else self.tokens()

    def wait_s(self) -> float:
        wait_s = self.rng.exponential(0.2) * (self.rng.random() < 0.8)
        return round(wait_s * 1024) / 1024 if self.on_the_beat else float(wait_s)


def single(texts: TextBook, i: int) -> tuple[Call, ...]:
    return (Call(texts.tokens(), texts.output()),)


def shared(texts: TextBook, i: int) -> tuple[Call, ...]:
    """A prompt after a common text, or now and then within it."""
    if texts.rng.random() < 0.2:
        n = int(texts.rng.integers(1, texts.shared_tokens + 1))
        return (Call(n, texts.output(), 0.0, (("common", n),)),)
    return (Call(texts.shared_tokens + texts.tokens(), texts.output(), 0.0, (("common", texts.shared_tokens),)),)


def agent(texts: TextBook, i: int) -> tuple[Call, ...]:
    """Each prompt repeats the one before and its answer, after a common text."""
    n = int(texts.rng.integers(1, 6))
    new, outputs = [texts.tokens() for _ in range(n)], [texts.output() for _ in range(n)]
    own = accumulate(a + b for a, b in zip(new, [0, *outputs[:-1]], strict=True))
    waits = [0.0, *(texts.wait_s() for _ in range(n - 1))]
    common = texts.shared_tokens
    return tuple(
        Call(common + k, output, wait_s, (("common", common), (f"task {i}", k)), True)
        for k, output, wait_s in zip(own, outputs, waits, strict=True)
    )


def chain(texts: TextBook, i: int) -> tuple[Call, ...]:
    """A prompt in named pieces of one size, the last one partial; it may go on from another prompt's whole pieces."""
    base = texts.chains[texts.rng.integers(len(texts.chains))]
    base = base[: texts.rng.integers(len(base) + 1)]
    pieces = base + [f"piece {i}.{j}" for j in range(texts.rng.integers(0, 4))]
    texts.chains.append(pieces)
    last = int(texts.rng.integers(1, texts.chunk_tokens)) if texts.chunk_tokens > 1 else 1
    segments = (*((piece, texts.chunk_tokens) for piece in pieces), (f"end {i}", last))
    return (Call(sum(n for _, n in segments), texts.output(), 0.0, segments),)


Played = dict[tuple[int, int], Request]


def play_stepping(world: World, build: Callable[..., SteppingEngine] | None = None) -> tuple[Played, SteppingEngine]:
    """The world as the plain engine plays it."""
    played: Played = {}
    plain = PrefillFirstEngine if "prefill_first" in world.engine else SteppingEngine
    engine = (build or plain)(world.step_time, **world.engine)

    def on_done(request: Request):
        played[request.task.task_id, request.call_index] = request
        if request.outcome in GOES_ON and request.call_index + 1 < len(request.task.calls):
            at_s = request.finished_s + request.task.calls[request.call_index + 1].wait_s
            yield at_s, new_request(world, request.task, request.call_index + 1, at_s)

    arrivals = [(task.arrived_s, new_request(world, task, 0, task.arrived_s)) for task in world.tasks]
    engine.play(arrivals, on_done, world.patience_s, world.timeout_s)
    return played, engine


def play_replica(world: World, build: Callable[..., Replica] = Replica) -> tuple[Played, Replica, GapHistogram]:
    """The same world as the leaping replica plays it."""
    env = simpy.Environment()
    played: Played = {}

    def arrive(task: Task, index: int) -> None:
        request = new_request(world, task, index, env.now)
        if world.patience_s < inf:
            call_later(env, world.patience_s, give_up, request)
        if world.timeout_s < inf:
            call_later(env, world.timeout_s, hang_up, request)
        replica.submit(request)

    def give_up(request: Request) -> None:
        if request.admitted_s is None and request.outcome is None:
            replica.withdraw(request)
            request.end(Outcome.ABANDONED, env.now)
            on_done(request)

    def hang_up(request: Request) -> None:
        if request.admitted_s is None:
            give_up(request)
        elif request.outcome is None:
            replica.abort(request)

    def on_done(request: Request) -> None:
        played[request.task.task_id, request.call_index] = request
        index = request.call_index + 1
        if request.outcome in GOES_ON and index < len(request.task.calls):
            wait_s = request.task.calls[index].wait_s
            if wait_s:
                call_later(env, wait_s, arrive, request.task, index)
            else:
                arrive(request.task, index)

    gap_histogram = GapHistogram(world.gaps_from_s)
    options = dict(world.engine)
    if tiers := options.pop("kv_tiers", ()):
        size = options["block_tokens"]
        options["kv_tiers"] = lambda: [Tier(i, n, size, *speed) for i, (n, *speed) in enumerate(tiers)]
    if host := options.pop("host", None):
        build = partial(HostedReplica, host=HostTime(tokenizer_us_per_token=1e6 * host[0], tokenizer_workers=host[1]))
    replica = build(env, world.step_time, on_done=on_done, gap_histogram=gap_histogram, **options)
    for task in world.tasks:
        call_later(env, task.arrived_s, arrive, task, 0)
    env.run()
    return played, replica, gap_histogram


def differences(truth: Played, played: Played) -> list[str]:
    """What the two disagree on, one line each; empty if nothing."""
    lines = [f"{key}: only in one of the two" for key in sorted(truth.keys() ^ played.keys())]
    for key in sorted(truth.keys() & played.keys(), key=lambda k: truth[k].finished_s):
        for name in (*AGREED, *AGREED_S):
            expected, got = getattr(truth[key], name), getattr(played[key], name)
            if name in AGREED_S and expected is not None and got is not None and abs(expected - got) <= TOLERANCE_S:
                continue
            if expected != got:
                lines.append(f"{key}: {name} is {got}, must be {expected}")
    return lines


def gap_differences(world: World, engine: SteppingEngine, histogram: GapHistogram) -> list[str]:
    """Where the histogram of gaps is not that of the plain engine's gaps, which may lie 1e-9 s to either side."""
    gaps_s = np.array([gap_s for end_s, gap_s in engine.gaps_s if end_s > world.gaps_from_s])
    if sum(histogram.counts) != len(gaps_s):
        return [f"{sum(histogram.counts)} gaps, must be {len(gaps_s)}"]
    edges_s, below = np.array(EDGES_S[1:-1]), np.cumsum(histogram.counts)[:-1]
    ordered = np.sort(gaps_s)
    least, most = (np.searchsorted(ordered, edges_s + side * TOLERANCE_S) for side in (-1, 1))
    wrong = np.flatnonzero((below < least) | (below > most))
    return [f"{below[i]} gaps below {edges_s[i]} s, must be {least[i]} to {most[i]}" for i in wrong]
