"""From rows to a RequestLog: time, tokens, sessions and shared prefixes put together, and the receipt written."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.moment_zero import zone_of
from sim.schema import TraceError
from sim.workload.logs import doubts, sessions
from sim.workload.logs.blocks import size_of_blocks, whole_or_added
from sim.workload.logs.columns import unit_of
from sim.workload.logs.gathering import Rows
from sim.workload.logs.log import Kept, RequestLog
from sim.workload.logs.reading import read_rows
from sim.workload.logs.receipt import receipt_of
from sim.workload.logs.roles import DURATIONS, KEPT, SECONDS_PER, LogOptions
from sim.workload.logs.timeline import Timeline, timeline_of
from sim.workload.logs.usage import settle_missing, whole_usage
from sim.workload.logs.values import as_written
from sim.workload.logs.waits import Joined, calls_named_by_turn, joined


def log_of(options: LogOptions, digest: str) -> RequestLog:
    """Read the files of a log and understand them. Raises TraceError."""
    rows = read_rows(options.path, options)
    return _Understanding(options.path, options, rows).log(digest)


class _Understanding:
    def __init__(self, shown: str, options: LogOptions, rows: Rows):
        self.shown, self.options, self.rows = shown, options, rows
        self.assumed: list[str] = list(rows.understood.preset.notes)
        self.cached_are: str | None = None
        self.chains: sessions.Chains | None = None

    def log(self, digest: str) -> RequestLog:
        rows, options, shown = self.rows, self.options, self.shown
        self._settle_rows()
        timeline, ended_s = timeline_of(rows, options, shown, self._durations())
        timeline, ended_s = self._in_order(timeline, ended_s)
        name = rows.understood.columns["arrived" if "arrived" in rows.moments else "ended"][0]
        doubts.refuse_one_moment(timeline, shown, name, options)
        gap = doubts.refuse_long_gap(timeline, rows, shown, name, options)
        rows.notes += [gap] if gap else []
        if options.moment_zero != "first_row" and not timeline.is_absolute:
            raise TraceError(f"{shown}: has no dates, so arrivals.moment_zero={options.moment_zero} has no meaning")
        zone_name = options.time.zone or rows.understood.preset.time.zone or "UTC"
        begun = timeline.begun(options.moment_zero, zone_of(zone_name))
        ended_s = None if ended_s is None else ended_s + begun.seconds[0] - timeline.seconds[0]
        timeline = begun
        arrived_s = timeline.seconds
        columns = self._sessions(arrived_s, ended_s) | self._prefixes() | self._applications()
        numbers = rows.numbers
        columns |= {"input_tokens": numbers["input"], "output_tokens": numbers["output"], "lines": rows.lines}
        if "priority" in numbers:
            columns["priorities"] = numbers["priority"]
        for column in (arrived_s, *columns.values()):
            if isinstance(column, np.ndarray):
                column.flags.writeable = False
        receipt = receipt_of(
            rows, options, timeline, self.cached_are, self.chains, columns.get("block_tokens"), tuple(self.assumed)
        )
        return RequestLog(
            shown, digest, arrived_s, begins_at=timeline.moment_zero, zone_name=zone_name, tick_s=_tick_s(arrived_s),
            notes=tuple(rows.notes), receipt=receipt, **columns,
        )  # fmt: skip

    def _settle_rows(self) -> None:
        """Which rows are requests, and with how many tokens."""
        rows, options, shown = self.rows, self.options, self.shown
        if len(rows):
            doubts.refuse_sums(rows, options, shown)
            self.cached_are = whole_usage(rows, options, shown)
            settle_missing(rows, options, shown)
            doubts.set_aside_repeated(rows, options, shown)
        if not len(rows):
            why = ", ".join(f"{count} {why}" for why, count in rows.set_aside.items())
            raise TraceError(f"{shown}: holds no request{f'; set aside: {why}' if why else ''}")
        doubts.refuse_several_models(rows, options, shown)
        doubts.refuse_mixed_zones(rows, options, shown)

    def _durations(self) -> dict[str, np.ndarray]:
        """Waits and durations in seconds, NaN where there is none."""
        found = {}
        for role in DURATIONS:
            if role in self.rows.numbers:
                unit, _ = unit_of(role, self.rows.understood, self.options)
                if unit == "auto":
                    unit = "s"
                    self.assumed.append(f"{self.rows.understood.columns[role][0]} is in seconds")
                found[role] = self.rows.numbers.pop(role) * SECONDS_PER[unit]
        self.rows.numbers |= found
        return found

    def _in_order(self, timeline: Timeline, ended_s: np.ndarray | None) -> tuple[Timeline, np.ndarray | None]:
        """Rows in order of time (and, at one moment, of their turns)."""
        rows, seconds = self.rows, timeline.seconds
        backwards = int((np.diff(seconds) < 0).sum())
        turns = rows.numbers.get("turn")
        if backwards and rows.understood.preset.origin == "first":  # a run's own file is in order of outcomes
            rows.notes.append(f"{backwards} rows were out of order; the log was sorted")
        if not backwards and turns is None:
            return timeline, ended_s
        order = np.argsort(seconds, kind="stable") if turns is None else np.lexsort((turns, seconds))
        rows.take(order)
        return timeline._replace(seconds=seconds[order]), None if ended_s is None else ended_s[order]

    def _sessions(self, arrived_s: np.ndarray, ended_s: np.ndarray | None) -> dict[str, Any]:
        rows, numbers = self.rows, self.rows.numbers
        session, previous = numbers.pop("session", None), None
        if session is None and "parent" in numbers and "id" in numbers:
            session = sessions.roots(numbers["id"], numbers["parent"]).astype(np.uint64) + 1
            previous = sessions.parents(numbers["id"], numbers["parent"])
        awaited, ids = numbers.pop("wait_for", None), numbers.get("id")
        if awaited is not None and rows.understood.preset.wait_for == "turns" and session is not None:
            awaited, ids = calls_named_by_turn(session, numbers["turn"], awaited)
        if awaited is not None and (ids is None or not any(awaited)):
            awaited = None
        if awaited is not None and session is None:
            session = np.zeros(len(arrived_s), np.uint64)
        if session is None or (awaited is None and not session.any()):
            return {}
        wait, tool = numbers.get("wait"), numbers.get("tool_wait")
        if tool is not None:
            wait = np.nan_to_num(tool) if wait is None else np.where(np.isnan(wait), 0.0, wait) + np.nan_to_num(tool)
        tokens = (numbers["input"], numbers["output"])
        gaps = self.options.gaps
        self.chains = chains = sessions.chains(
            session, arrived_s, ended_s, tokens, wait, numbers.get("wait_after"), gaps, previous
        )
        if awaited is None:
            self._say_sessions(chains)
        if self._inputs_are_added(chains):
            numbers["input"] = sessions.whole_prompts(chains.task_ids, *tokens)
            self.assumed.append("later inputs of a session are what was added: whole prompts were made of them")
            rows.lists = None
        columns: dict[str, Any] = {}
        if awaited is not None and ids is not None:
            graph = joined(ids, awaited, session, arrived_s, ended_s, wait, gaps)
            self.chains = chains = graph.chains
            columns["awaited"] = graph.awaited
            self._say_joins(graph)
        columns |= {"task_ids": chains.task_ids, "wait_s": chains.wait_s}
        if chains.least_gap_s is not None:
            columns["least_gap_s"] = chains.least_gap_s
        if "continues" in numbers:
            columns["begins_anew"] = numbers["continues"] == 0
            if all(role in numbers for role in KEPT):
                columns["kept"] = Kept(*(numbers[role] for role in KEPT))
        if rows.lists is None and rows.prefixes is None and "kept" not in columns:
            self.assumed.append("a prompt goes on from the one before wherever it can hold that and its answer")
        return columns

    def _say_joins(self, graph: Joined) -> None:
        several = sum(len(earlier) > 1 for earlier in graph.awaited)
        self.assumed.append(
            f"calls wait for those that wait_for names ({several} for several), others in their session"
        )
        if graph.n_unknown:
            self.rows.notes.append(f"wait_for names {graph.n_unknown} calls that are not in the log before: ignored")
        if graph.n_apart:
            self.rows.notes.append(
                f"{graph.n_apart} calls that wait for none belong to a task that another call began: they wait for that"
            )

    def _say_sessions(self, chains: sessions.Chains) -> None:
        largest = int(np.bincount(chains.task_ids).max())
        if largest >= 20 and 2 * largest > len(chains.task_ids):
            column = self.rows.understood.columns.get("session", ["parent"])[0]
            self.rows.notes.append(
                f"one session holds {largest} of {len(chains.task_ids)} calls, which wait for one another; if {column} "
                "names no sessions: arrivals.columns.session=none"
            )
        if chains.n_siblings:
            self.rows.notes.append(
                f"{chains.n_siblings} calls began while another of their session was under way: tasks of their own"
            )
        if "from start to start" in chains.gap_kinds:
            self.rows.notes.append(
                "gaps between calls of a session are from start to start, so they hold service time: a call is sent "
                "when the one before has ended, no sooner after its start than recorded (arrivals.gaps=start_to_start)"
            )
        if "taken as waits" in chains.gap_kinds:
            self.rows.notes.append(
                "gaps between calls of a session are taken as waits after an answer (arrivals.gaps=end_to_start)"
            )

    def _inputs_are_added(self, chains: sessions.Chains) -> bool:
        stated = self.options.prompts if self.options.prompts != "auto" else self.rows.understood.preset.prompts
        if stated != "auto":
            return stated == "added"
        numbers = self.rows.numbers
        found = whole_or_added(chains.task_ids, numbers["input"], numbers["output"], self.rows.lists)
        if found is None:
            raise TraceError(
                f"{self.shown}: whether later inputs of a session are whole prompts or what was added to them is not "
                "clear; say arrivals.prompts=whole or arrivals.prompts=added"
            )
        return found == "added"

    def _prefixes(self) -> dict[str, Any]:
        rows = self.rows
        input_tokens = rows.numbers["input"]
        if rows.prefixes is not None:
            found = rows.prefixes.whole()
            totals = np.array([sum(n for _, n in segments) for segments in found])
            law = "has more tokens than the input"
            self._refuse(totals > input_tokens, rows.understood.columns["prefix"][0], totals, law)
            return {"prefixes": found}
        if rows.lists is None:
            return {}
        ids, offsets = rows.lists.numbered()
        if not len(ids):
            return {}
        given, usual = self.options.block_tokens, rows.understood.preset.block_tokens
        sizes = rows.numbers.pop("block_tokens", None)
        if given is None and sizes is not None and (sizes > 0).any():
            if len(np.unique(sizes[sizes > 0])) > 1:
                raise TraceError(f"{self.shown}: holds blocks of several sizes: {np.unique(sizes[sizes > 0]).tolist()}")
            given = int(sizes.max())
        counts = np.diff(offsets)
        size = size_of_blocks(input_tokens, counts, given, usual)
        column = rows.understood.columns["prefix_blocks"][0]
        most = -(-input_tokens // (size or usual or given or 512))
        law = f"one per {size or usual or given or 512} input tokens; another block size? arrivals.block_tokens=16"
        for i in np.flatnonzero(counts > most)[:1]:
            where = f"{self.shown}, {rows.place} {rows.lines[i]}, column {column!r}"
            raise TraceError(f"{where}: is a list of {counts[i]} blocks, must be of at most {most[i]}, {law}")
        if size is None:
            raise TraceError(
                f"{self.shown}, column {column!r}: no block size fits all rows; say arrivals.block_tokens=16"
            )
        if size != usual and given is None:
            self.assumed.append(f"blocks of {size} tokens: the size that fits every row")
        return {"hash_ids": ids, "hash_offsets": offsets, "block_tokens": size}

    def _refuse(self, bad: np.ndarray, column: str, values: np.ndarray, law: str) -> None:
        if bad.any():
            i = int(bad.argmax())
            where = f"{self.shown}, {self.rows.place} {self.rows.lines[i]}, column {column!r}"
            raise TraceError(f"{where}: {as_written(values[i])} {law}")

    def _applications(self) -> dict[str, Any]:
        role = self.options.application_from
        if role is None:
            return {}
        if role not in self.rows.names:
            raise TraceError(
                f"arrivals.application_from={role}: the log has no column for it; say arrivals.columns.{role}=NAME"
            )
        names = [*self.rows.names[role], f"no {role}"]
        codes = self.rows.numbers[role]
        codes = np.where(codes < 0, len(names) - 1, codes)
        used, numbers = np.unique(codes, return_inverse=True)
        return {"applications": numbers.astype(np.int32), "application_names": tuple(names[i] for i in used)}


def _tick_s(arrived_s: np.ndarray) -> float | None:
    """The grid of the time stamps, if most rows share their stamp and the stamps sit on a grid; else None."""
    same = np.diff(arrived_s) == 0
    if not same.any():
        return None
    distinct = arrived_s[np.concatenate(([True], ~same))]
    n_shared = int((np.concatenate(([False], same)) | np.concatenate((same, [False]))).sum())
    if len(distinct) < 3 or n_shared <= 0.5 * len(arrived_s):
        return None
    gaps = np.diff(distinct)
    tick = float(np.median(gaps))
    return tick if (np.abs(gaps / tick - np.round(gaps / tick)) < 0.01).mean() > 0.95 else None
