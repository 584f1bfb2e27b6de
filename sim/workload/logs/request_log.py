"""Readers of real request logs: files in, a RequestLog of seconds and tokens out.

Laws: time 0 is the first row kept (or the file's own, for a run of this program); rows come sorted by time; token
counts are whole and not negative. Rows that are no requests to replay are set aside and counted; what may be a mistake
is refused in one line that says how to go on. Formats are presets in conf/log; see `presets`, `reading` and `doubts`.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Any

from sim.workload.logs.files import digest_of, files_of
from sim.workload.logs.log import RequestLog
from sim.workload.logs.roles import LogOptions
from sim.workload.logs.understanding import log_of

__all__ = ["RequestLog", "read", "read_log"]


def read_log(path: str, format: str = "auto", **options: Any) -> RequestLog:
    """Read a request log, once per content and options (LogOptions). Raises TraceError naming file, line, column."""
    return read(LogOptions(path=path, format=format, **options))


def read(options: LogOptions) -> RequestLog:
    """Read a request log, once per content and options. Raises TraceError naming file, line and column."""
    options = LogOptions.model_validate({name: getattr(options, name) for name in LogOptions.model_fields})
    stats = [(str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files_of(options.path)]
    return _read(options.model_dump_json(), tuple(stats))


@lru_cache(maxsize=8)
def _read(options_json: str, stats: tuple) -> RequestLog:
    options = LogOptions.model_validate_json(options_json)
    digest = digest_of(files_of(options.path), options.path)
    plain = LogOptions(path=options.path, format=options.format)
    if options != plain:
        digest = sha256((digest + options.model_copy(update={"path": "-"}).model_dump_json()).encode()).hexdigest()
    return log_of(options, digest)
