"""The nouns of a run: a Task is drawn once and never changes; a Request is one of its calls on its way."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum
from typing import Final, NamedTuple

Segment = tuple[Hashable, int]
"""(stream key, tokens): the prompt goes on with the first `tokens` tokens of the stream called `key`.

Two prompts whose leading segments agree share those tokens, and so may share their KV cache.
"""


class Call(NamedTuple):
    """One model call of a task.

    `wait_s` is the tool or human time between the previous call's end and this call. `least_gap_s` is the least time
    between their arrivals, for logs that hold no ends; the later of the two moments counts. `segments` are the leading
    prompt tokens that other prompts may share (they may cover less than `input_tokens`; the rest is unique).
    `extends_prefix` says that the generated tokens continue the stream of the last segment, as in an agent loop whose
    next prompt repeats this one and its answer; the segments then cover the whole prompt. `api_quantiles` are the
    uniform draws in (0, 1) of this call's time to first token and speed at an API. Tokens are `int`, not numpy's.
    """

    input_tokens: int
    output_tokens: int
    wait_s: float = 0.0
    segments: tuple[Segment, ...] = ()
    extends_prefix: bool = False
    api_quantiles: tuple[float, float] = (0.5, 0.5)
    least_gap_s: float = 0.0


def wait_after(previous: Request, call: Call) -> float:
    """Seconds between the end of a finished request and the arrival of its task's next call."""
    finished_s = previous.finished_s
    if not call.least_gap_s or finished_s is None:
        return call.wait_s
    return max(call.wait_s, previous.arrived_s + call.least_gap_s - finished_s)


SHARED_KEY = "shared"
"""Key of the prompt text that all tasks begin with. Segments of single tasks are keyed by numbers or tuples."""


def prefix_tokens(call: Call) -> int:
    """How many leading tokens of a call's prompt other prompts may share.

    >>> prefix_tokens(Call(10, 3)), prefix_tokens(Call(10, 3, segments=((SHARED_KEY, 4), ("t", 5))))
    (0, 9)
    """
    if call.extends_prefix:
        return call.input_tokens
    tokens = 0
    for _, size in call.segments:
        tokens += size
    return tokens


def shared_prefix_tokens(call: Call) -> int:
    """How many leading tokens of a call's prompt are text that prompts of other tasks begin with, too.

    Within an application or a kind of agent, the text's key is the last of a tuple.

    >>> [shared_prefix_tokens(Call(10, 3, segments=((key, 4),))) for key in ("shared", ("chat", "shared"), (7, 0))]
    [4, 4, 0]
    """
    if not call.segments:
        return 0
    key, tokens = call.segments[0]
    while isinstance(key, tuple):
        key = key[-1]
    return tokens if key == SHARED_KEY else 0


def returning_tokens(previous: Call, call: Call) -> int:
    """How many leading tokens of a call's prompt the previous call of its task has left in KV memory.

    >>> first = Call(10, 3, segments=(("t", 10),), extends_prefix=True)
    >>> [returning_tokens(first, Call(n, 3, segments=((key, n),))) for key, n in (("t", 20), ("t", 11), ("u", 20))]
    [12, 11, 0]
    """
    before, now = previous.segments, call.segments
    if previous.extends_prefix and now and before[-1][0] == now[-1][0]:
        # The usual case, without a loop: equal last streams follow equal streams. Of the answer, all tokens but the
        # last are in KV memory, since the last one generated is never computed.
        last_tokens = before[-1][1]
        return previous.input_tokens - last_tokens + min(last_tokens + previous.output_tokens - 1, now[-1][1])
    shared = 0
    for i, ((key, tokens), (wanted_key, wanted)) in enumerate(zip(before, now, strict=False)):
        if key != wanted_key:
            break
        if previous.extends_prefix and i + 1 == len(before):
            tokens += previous.output_tokens - 1
        shared += min(tokens, wanted)
        if tokens != wanted:
            break
    return shared


def returning_tokens_of(request: Request) -> int:
    """`returning_tokens` of a request, whose previous call its client may have stopped; 0 for a first call."""
    index = previous_index(request.task, request.call_index)
    if index < 0:
        return 0
    before, previous = request.task.calls[index], request.previous
    if previous is not None and previous.unsent_tokens:
        before = before._replace(output_tokens=before.output_tokens - previous.unsent_tokens)
    return returning_tokens(before, request.call)


class TaskProfile(NamedTuple):
    """What is known of a kind of task beforehand.

    `expected_calls`: mean number of calls of those tasks of the kind that make more than 0, 1, 2, ... calls.
    """

    application: str = ""
    expected_calls: tuple[float, ...] = ()

    def calls_to_come(self, calls_made: int) -> float:
        """Mean number of calls still to come, at least 1, of a task that has made `calls_made`; 1 if nothing is known.

        >>> half_of_one_half_of_five = TaskProfile("mixed", (3.0, 5.0, 5.0, 5.0, 5.0))
        >>> [half_of_one_half_of_five.calls_to_come(made) for made in (0, 1, 4)]
        [3.0, 4.0, 1.0]
        """
        means = self.expected_calls
        return max(1.0, means[min(calls_made, len(means) - 1)] - calls_made) if means else 1.0


NO_PROFILE: Final = TaskProfile()


Graph = tuple[tuple[int, ...], ...]
"""For each call of a task, the places of the earlier calls that must have finished before: first the one whose
conversation it goes on from. Only the first call waits for none. The task has finished when all its calls have."""


class Task(NamedTuple):
    """What a user asks for: one call, or several.

    `priority`: lower is more urgent; it matters to an engine that schedules by priority. `graph` says which calls wait
    for which; None: a chain, where each waits for the one before.
    """

    task_id: int
    arrived_s: float
    calls: tuple[Call, ...]
    application: int = 0
    priority: int = 0
    profile: TaskProfile = NO_PROFILE
    graph: Graph | None = None


def previous_index(task: Task, call_index: int) -> int:
    """Place of the call that a call goes on from; -1 for the first.

    >>> fork = Task(0, 0.0, (Call(5, 5),) * 4, graph=((), (0,), (0,), (1, 2)))
    >>> [previous_index(fork, i) for i in range(4)]
    [-1, 0, 0, 1]
    """
    graph = task.graph
    return call_index - 1 if graph is None or not call_index else graph[call_index][0]


class Backend(IntEnum):
    """The two kinds of server of a request."""

    FLEET = 0
    API = 1


class Outcome(IntEnum):
    """How a request ended. Every request has exactly one outcome."""

    FINISHED = 0
    REFUSED = 1  # turned away: rate limit, full queue, or too long for the KV cache
    ABANDONED = 2  # the client's patience ran out before service began
    UNFINISHED = 3  # still under way when the run ended
    FAILED = 4  # lost with a replica, or with a provider, more often than it is tried again
    ABORTED = 5  # the client's timeout ran out in the middle of service
    STOPPED = 6  # the client had enough of the answer before its end


class Refusal(IntEnum):
    """Why a request was refused. The first four are about the request itself: waiting would not have helped."""

    NONE = 0  # it was not
    OVER_CONTEXT = 1  # input + output exceed the longest context of the model, or of the engine
    OVER_KV_MEMORY = 2  # input + output exceed the KV memory of one replica
    OVER_STEP = 3  # input + output exceed the token budget of one step, and the engine does not cut prompts
    OVER_RATE_LIMIT = 4  # it takes more at once than a rate limit of the API ever holds
    QUEUE_FULL = 5  # the queue of the fleet, or of the replica
    RATE_LIMIT = 6  # over a rate limit of the API, and the client gave up
    API_OUTAGE = 7  # the last attempt that the client makes met an outage of the API

    @property
    def is_final(self) -> bool:
        return Refusal.NONE < self <= Refusal.OVER_RATE_LIMIT


# Looking up a member of an enum costs as much as a function call, so these are looked up once.
_NOT_REFUSED: Final = Refusal.NONE
_FINISHED: Final = Outcome.FINISHED


class PreviousCall:
    """Where the previous call of a request's task was served: what routers and placements may know of the past.

    `pool` is the pool's place in the list of pools; -1, as `replica_id`, if the API served it. `prefill_replica_id`:
    where its prompt was computed, if not there; else -1. `unsent_tokens`: of its answer, never generated, because its
    client stopped it.
    """

    __slots__ = ("backend", "pool", "replica_id", "prefill_replica_id", "unsent_tokens")

    def __init__(
        self,
        backend: Backend,
        pool: int = -1,
        replica_id: int = -1,
        prefill_replica_id: int = -1,
        unsent_tokens: int = 0,
    ):
        self.backend = backend
        self.pool = pool
        self.replica_id = replica_id
        self.prefill_replica_id = prefill_replica_id
        self.unsent_tokens = unsent_tokens


class Losses:
    """The effect of lost replicas on a request: how often one was lost, what was kept, and where the request had been.

    `stays`: (pool, replica_id, from, to), in s, of every stay in a batch that a loss cut short.
    """

    __slots__ = ("retries", "generated_tokens", "computed_tokens", "lost_s", "last_token_s", "resumed_s", "stays")

    def __init__(self) -> None:
        self.retries = 0
        self.generated_tokens = 0  # output tokens that the client has, so that they are not generated again
        self.computed_tokens = 0  # tokens whose KV was in the memory of the lost replica
        self.lost_s = 0.0
        self.last_token_s: float | None = None  # when the client got the last of `generated_tokens`
        self.resumed_s: float | None = None  # when another replica admitted it; None until then
        self.stays: list[tuple[int, int, float, float]] = []


class ApiExtra:
    """What a request met at an API beyond one plain call: attempts that failed, the batch tier, a second copy.

    `lost_*`: billed tokens of the copy that lost a hedge.
    """

    __slots__ = (
        "throttled_attempts", "failed_attempts", "is_batch", "is_hedged",
        "lost_input_tokens", "lost_cached_input_tokens", "lost_cache_write_tokens", "lost_output_tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.throttled_attempts = self.failed_attempts = self.is_batch = self.is_hedged = 0
        self.lost_input_tokens = self.lost_cached_input_tokens = 0
        self.lost_cache_write_tokens = self.lost_output_tokens = 0


class Request:
    """One call on its way through the system. Policies may read everything but `output_tokens`.

    Task, call and `previous` (None for the first call of a task) are fixed at creation. The stamps follow, once each,
    by the gateway, the fleet or API, and the replica. A stamp that has not happened is None; no pool or replica is -1.
    """

    __slots__ = (
        "task", "call", "call_index", "arrived_s", "input_tokens", "output_tokens", "previous",
        "admitted_s", "first_token_s", "finished_s", "outcome", "backend", "pool", "replica_id",
        "cached_input_tokens", "preemptions", "preempted_s", "recomputed_tokens", "cold_start_wait_s",
        "prefill_replica_id", "decode_admitted_s", "losses", "cache_write_tokens", "api_extra",
        "refusal", "longest_gap_s", "ends_as", "unsent_tokens", "tier_hits",
    )  # fmt: skip

    def __init__(self, task: Task, call_index: int, arrived_s: float, previous: PreviousCall | None = None):
        self.task = task
        self.call_index = call_index
        self.call = call = task.calls[call_index]
        self.arrived_s = arrived_s
        self.input_tokens = call.input_tokens
        self.output_tokens = call.output_tokens
        self.previous = previous
        self._clear_stamps()

    def _clear_stamps(self) -> None:
        self.admitted_s: float | None = None
        self.first_token_s: float | None = None
        self.finished_s: float | None = None
        self.outcome: Outcome | None = None
        self.backend: Backend | None = None
        self.pool = -1  # place in the list of pools, of the replica that has or had the request
        self.replica_id = -1
        self.cached_input_tokens = 0
        self.preemptions = 0
        self.preempted_s = 0.0
        self.recomputed_tokens = 0
        self.cold_start_wait_s = 0.0
        self.prefill_replica_id = -1  # where its prompt was computed, if not where it is decoded
        self.decode_admitted_s: float | None = None  # when the decoding replica admitted it, if another one prefilled
        self.losses: Losses | None = None
        self.cache_write_tokens = 0  # of its prompt, into the prompt cache of an API
        self.api_extra: ApiExtra | None = None
        self.refusal = _NOT_REFUSED
        self.longest_gap_s = 0.0  # between two tokens that were delivered one after the other
        self.tier_hits: list[tuple[int, int]] | None = None  # (number of a KV tier, tokens loaded from it)
        self.ends_as = _FINISHED  # its outcome if it is served to the end, which its client may have set earlier
        self.unsent_tokens = 0  # of `output_tokens`, those that are not generated, because its client stops it before

    def end(self, outcome: Outcome, now_s: float | None) -> None:
        """Stamp the one outcome, and `now_s` as `finished_s`: None for a request that the end of the run cuts short.

        Raises RuntimeError if the request has ended before.
        """
        if self.outcome is not None:
            raise RuntimeError(
                f"task {self.task.task_id} call {self.call_index} cannot end as {outcome.name} at {now_s} s: "
                f"it ended as {self.outcome.name} at {self.finished_s} s"
            )
        self.outcome = outcome
        self.finished_s = now_s

    def end_served(self, now_s: float) -> None:
        """End as FINISHED, or as its client has it end; from then on `output_tokens` are those generated."""
        self.end(self.ends_as, now_s)
        self.output_tokens -= self.unsent_tokens

    def abort(self, generated_tokens: int, now_s: float) -> None:
        """End as ABORTED at `now_s`, with `generated_tokens` of the answer sent."""
        self.unsent_tokens = self.output_tokens - generated_tokens
        self.ends_as = Outcome.ABORTED
        self.end_served(now_s)

    def refuse(self, reason: Refusal, now_s: float | None) -> None:
        """End as REFUSED, for this reason."""
        self.end(Outcome.REFUSED, now_s)
        self.refusal = reason

    def start_over(self) -> None:
        """Forget the stamps of a backend that turned the request away, to try another; count the retry."""
        losses, cold_start_wait_s = self.losses or Losses(), self.cold_start_wait_s
        ends_as, unsent_tokens = self.ends_as, self.unsent_tokens
        losses.retries += 1
        self._clear_stamps()
        self.losses, self.cold_start_wait_s = losses, cold_start_wait_s
        self.ends_as, self.unsent_tokens = ends_as, unsent_tokens


def refusal_of(request: Request, limits: dict[Refusal, int]) -> Refusal:
    """Which of these limits to its input + output - 1 tokens a request is over, in the order of `Refusal`.

    QUEUE_FULL if it is over none.
    """
    tokens = request.input_tokens + request.output_tokens - 1
    return min((reason for reason, most in limits.items() if tokens > most), default=Refusal.QUEUE_FULL)
