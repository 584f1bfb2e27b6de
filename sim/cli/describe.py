"""Tell what a request log holds: rate, burstiness, token lengths, sessions, prefix reuse.

Prints what was understood of the log and the figures, and writes description.json and a page with pictures,
description.html. Words say what the reader cannot know, as for a replay: columns.input=NAME time.unit=ms start_s=3600.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Describe, print and write. Raises SimError for a log or words that cannot be read."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim describe", description=__doc__)
    parser.add_argument("log", metavar="LOG", help="a file, a folder of parts or a glob")
    parser.add_argument("words", nargs="*", metavar="key=value", help="keys of arrivals=replay that say how to read it")
    parser.add_argument("--json", action="store_true", help="print description.json in place of the text")
    parser.add_argument("--out", type=Path, help="folder to write to; default: outputs/described/LOG")
    given = parser.parse_args(argv)
    from sim.study.describe import describe_log, described_log
    from sim.study.folder import require_writable

    options = described_log(given.log, given.words)
    folder = given.out or Path("outputs") / "described" / (Path(given.log).stem or "log")
    require_writable(folder)
    found = describe_log(options)
    print(json.dumps(found.as_dict(), indent=2) if given.json else found)
    page = found.write(folder)
    if not given.json:
        print(f"-> {page}")
    return 0
