"""Find the cheapest fleet over ranges of keys that meets the SLO.

Words describe the scenario as for `run`. `--over` names a key and its values, `scaling.n_replicas=1..12` or
`gpu=l4,l40s`; it may be repeated. Replica counts are bisected, policies raced, finalists played on fresh seeds. A range
of a key that takes any number, `routing.queue_per_replica=0.5..8`, is searched by Optuna's TPE, several at once and
replica counts with them (`pip install 'llm-traffic-sim[tune]'`). What is played is kept: the same command goes on after
Ctrl-C. Exit code 4: nothing meets the SLO.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

NOTHING_MEETS = 4


def main(argv: Sequence[str]) -> int:
    """Search and print. Returns 4 if nothing meets the SLO, 130 after Ctrl-C. Raises SimError for bad input."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim plan", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="key=value", help="the scenario, as for `run`")
    parser.add_argument("--over", action="append", required=True, metavar="key=values", help="1..12, 0.5..8, or a,b,c")
    parser.add_argument("--most", type=int, default=40, help="replications of one scenario at most (default 40)")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print data in place of text")
    given = parser.parse_intermixed_args(argv)
    from sim.printable import printable
    from sim.scenarios import scenario
    from sim.study.folder import plain
    from sim.study.search.plan import plan

    base = scenario(*given.words)
    folder = Path(base.output.dir) / "plan"
    try:
        found = plan(base, given.over, given.most, folder, given.jobs)
    except KeyboardInterrupt:
        print(f"interrupted: what is played is kept in {folder}; the same command goes on from there", file=sys.stderr)
        return 130
    print(json.dumps(plain(found.as_dict()), indent=1) if given.json else printable(str(found)))
    return 0 if found.feasible else NOTHING_MEETS
