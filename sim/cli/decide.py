"""Decide which fleet should serve a request log within its SLO, and say what the answer rests on.

Words fix what the decision may not choose: model=NAME slo=NAME gpu=NAME prices=NAME, and how to read the log, as for
`describe`. today.usd_per_month=N says what is paid now. Everything else is tried: cards with a price, tensor
parallelism, weight types; the API alone, always on, by timetable, to zero, warm floor, overflow, reserved baseline.
Writes decision.json and its page, decision.html. What is played is kept: the same command goes on after Ctrl-C. Exit
code 4: nothing meets the SLO.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

NOTHING_MEETS = 4


def main(argv: Sequence[str]) -> int:
    """Search, print and write. Returns 4 if nothing meets the SLO, 130 after Ctrl-C. Raises SimError for bad input."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim decide", description=__doc__)
    parser.add_argument("log", metavar="LOG", help="a file, a folder of parts or a glob")
    parser.add_argument("words", nargs="*", metavar="key=value", help="keys of a scenario, and today.usd_per_month=N")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print decision.json in place of the text")
    parser.add_argument("--quick", action="store_true", help="the answer alone, without what would change it")
    given = parser.parse_intermixed_args(argv)
    from sim.page.write import write_page
    from sim.printable import printable
    from sim.study.search.decide import decide
    from sim.study.search.question import JSON_NAME, folder_of, question

    asked = question(given.log, given.words)
    if not given.json:
        print(printable("\n".join(asked.receipt.lines())))
    try:
        found = decide(asked, given.jobs, quick=given.quick)
    except KeyboardInterrupt:
        print(f"interrupted: what is played is kept in {folder_of(asked)}; the same command goes on from there",
              file=sys.stderr)  # fmt: skip
        return 130
    print(json.dumps(found.as_dict(), indent=1) if given.json else printable(f"\n{found}"))
    page = write_page(found.folder)
    if not given.json:
        print(printable(f"-> {found.folder / JSON_NAME}\n-> {page}"))
    return 0 if found.feasible else NOTHING_MEETS
