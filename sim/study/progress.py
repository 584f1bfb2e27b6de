"""Shows the progress of a sweep: a bar on a terminal, elsewhere a line every 15 s. It counts finished row files."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_EVERY_S = 0.3
_PRINT_EVERY_S = 15.0


@contextmanager
def progress(n_total: int, n_done: Callable[[], int], what: str) -> Iterator[None]:
    """Shows `n_done()` of `n_total` while the block runs. Works with every launcher, as it only looks at the disk."""
    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(n_total, n_done, what, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5.0)


def _bar(n_total: int, n_done: Callable[[], int], what: str, stop: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=n_total)
        while not stop.wait(_LOOK_EVERY_S):
            bar.update(task, completed=n_done())
        bar.update(task, completed=n_done())


def _lines(n_total: int, n_done: Callable[[], int], what: str, stop: threading.Event) -> None:
    began_s = printed_s = time.monotonic()
    print(f"{what}: {n_total} to do", file=sys.stderr, flush=True)
    while not stop.wait(_LOOK_EVERY_S):
        now_s = time.monotonic()
        if now_s - printed_s >= _PRINT_EVERY_S:
            printed_s = now_s
            print(f"{what}: {n_done()} of {n_total} done after {now_s - began_s:.0f} s", file=sys.stderr, flush=True)
