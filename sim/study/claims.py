"""Claims: of all processes that write results into one folder, one at a time plays a scenario."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sim.schema import ConfigError

try:
    import fcntl
except ImportError:  # Windows has no such locks: there, two sweeps in one folder may play a scenario twice.
    fcntl = None  # type: ignore[assignment]


NO_LOCKS = -1
"""In place of an open file, where there is nothing to lock with."""
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def claim(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the claim on a folder of results during the block; yields whether it is held.

    `wait`: until another process gives it up; without, False is yielded if another process has it. The operating system
    takes a lock from a process that ends, however it ends, so no claim outlives its owner and no clock is asked. On a
    file system without locks every claim is granted. Raises ConfigError if nothing can be written beside the folder.
    """
    path = folder.with_name(f".{folder.name}.claim")
    made = [place for place in folder.parents if not place.exists()]
    try:
        lock = _locked(path, wait) if fcntl else NO_LOCKS
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
    if lock is None:
        yield False
        return
    try:
        yield True
    finally:
        if lock >= 0:
            path.unlink(
                missing_ok=True
            )  # Before the lock ends: a process that waits for the lock must see that the file has gone.
            os.close(lock)
        with suppress(OSError):  # of folders that hold something by now
            for place in made:
                place.rmdir()


def _locked(path: Path, wait: bool) -> int | None:
    """An open file that is locked and still has its name; None if another process has it and `wait` is false."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # the folder was removed this very moment
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, lock):
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException as error:
            os.close(lock)
            if isinstance(error, OSError) and error.errno in _WITHOUT_LOCKS:
                path.unlink(missing_ok=True)
                return NO_LOCKS
            raise
        os.close(lock)


def _is_at(path: Path, lock: int) -> bool:
    """Whether the open file is the one that has this name now: an earlier owner may have removed it."""
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False
