"""Shows the progress of a sweep, and the time left: a bar on a terminal, elsewhere a line at once and every 15 s."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sim.report.description_text import length

_LOOK_EVERY_S = 0.3
_PRINT_EVERY_S = 15.0
Weights = Sequence[float | None]
"""CPU seconds that pieces of work are expected to take; None where that is not known."""


def left_s(every: Weights, left: Weights, elapsed_s: float, n_at_once: int = 1) -> float | None:
    """Seconds until all is done, where `left` of `every` piece of work is left; None where nothing tells.

    Before anything is done the expected CPU seconds count, shared by `n_at_once`. After that they are only weights: the
    pace is what has been seen.

    >>> left_s([10.0, 10.0, 20.0], [10.0, 10.0, 20.0], elapsed_s=5.0), left_s([10.0, 10.0], [10.0], elapsed_s=30.0)
    (35.0, 30.0)
    """
    known = [weight for weight in every if weight is not None]
    usual = sum(known) / len(known) if known else 1.0
    total, rest = (math.fsum(usual if weight is None else weight for weight in some) for some in (every, left))
    if len(left) == len(every):
        expected_s = total / max(min(n_at_once, len(every)), 1) - elapsed_s
        return expected_s if known and expected_s > 0 else None
    return elapsed_s * rest / (total - rest) if rest < total else 0.0


@contextmanager
def progress(
    every: Weights, left: Callable[[], Weights], what: str, n_at_once: int = 1, quiet_s: float = 0.0
) -> Iterator[None]:
    """Shows what is done and how long the rest takes while the block runs; nothing of a block within `quiet_s`.

    `left()` is the part of `every` that is not done yet. It is asked, so this works with whatever does the work.
    """
    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(every, left, what, n_at_once, quiet_s, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5.0)


def _in_words(seconds: float | None) -> str:
    return "time left not known yet" if seconds is None else f"about {length(max(float(f'{seconds:.2g}'), 1.0))} left"


def _bar(
    every: Weights, left: Callable[[], Weights], what: str, n_at_once: int, quiet_s: float, stop: threading.Event
) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    began_s = time.monotonic()
    if stop.wait(quiet_s):
        return
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[rest]}"), console=Console(stderr=True), transient=True) as bar:
        rest = left()
        task = bar.add_task(what, total=len(every), rest=_in_words(left_s(every, rest, 0.0, n_at_once)))
        while not stop.wait(_LOOK_EVERY_S):
            rest = left()
            told = _in_words(left_s(every, rest, time.monotonic() - began_s, n_at_once))
            bar.update(task, completed=len(every) - len(rest), rest=told)
        bar.update(task, completed=len(every) - len(left()))


def _lines(
    every: Weights, left: Callable[[], Weights], what: str, n_at_once: int, quiet_s: float, stop: threading.Event
) -> None:
    began_s = time.monotonic()
    if stop.wait(quiet_s):
        return
    while True:
        printed_s = time.monotonic()
        rest, elapsed_s = left(), printed_s - began_s
        told = _in_words(left_s(every, rest, elapsed_s, n_at_once))
        after = f" after {length(elapsed_s)}" if elapsed_s >= 1.0 else ""
        print(f"{what}: {len(every) - len(rest)} of {len(every)} done{after}, {told}", file=sys.stderr, flush=True)
        if stop.wait(_PRINT_EVERY_S - (time.monotonic() - printed_s)):
            return
