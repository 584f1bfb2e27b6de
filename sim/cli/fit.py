"""Fit a synthetic workload to a request log, and say how near it comes.

Writes config groups that any scenario can choose, FOLDER/arrivals/NAME.yaml and its fellows: rate with its profile or
course, bursts, token lengths, sessions. Words say what the reader cannot know, as for `describe`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Fit, print and write. Raises SimError for a log or words that cannot be read, and for files that exist."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim fit", description=__doc__)
    parser.add_argument("log", metavar="LOG", help="a file, a folder of parts or a glob")
    parser.add_argument("words", nargs="*", metavar="key=value", help="keys of arrivals=replay that say how to read it")
    parser.add_argument("--out", type=Path, default=Path("mine"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--name", help="of the files; default: that of the log")
    parser.add_argument("--json", action="store_true", help="print groups and distances as JSON in place of the text")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    given = parser.parse_args(argv)
    from sim.report.description_text import section_text
    from sim.study.describe import described_log
    from sim.study.fit import fit_log, refuse_to_overwrite

    options = described_log(given.log, given.words)
    name = given.name or re.sub(r"\W+", "_", Path(given.log).stem).strip("_") or "log"
    for group in ("arrivals", "lengths", "tasks"):
        refuse_to_overwrite(given.out / group / f"{name}.yaml", given.force)
    found = fit_log(options)
    found.write(given.out, name, given.force)
    print(json.dumps(found.as_dict(), indent=2) if given.json else section_text(found.section))
    if not given.json:
        print(f"-> {found.usage(given.out, name)}")
    return 0
