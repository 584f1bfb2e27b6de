"""Set beside each other what the recorded sessions of agents cost when they are served in other ways.

LOG is a log of sessions. The same sessions are played on an API with and without its prompt cache, on own GPUs always
on (the fewest within the SLO, or scaling.n_replicas=N), and on these with host memory behind their KV memory: dollars
per task, and per seat and month, beside first token and task time. Words are those of `decide`; and other.model=NAME,
other.compact_at_tokens=N (other.summary_tokens=N) set another model and an earlier compaction beside. Seats are the
users that the log names, or seats=N, or month.sessions_per_seat=N; month.hours=N: how many of a month's 730 hours are
like the log. Writes agents.json and its page, agents.html. What is played is kept: the same command goes on after
Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Play, print and write. Returns 130 after Ctrl-C. Raises SimError for bad input."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim bill-agents", description=__doc__)
    parser.add_argument("log", metavar="LOG", help="a file, a folder of parts or a glob")
    parser.add_argument("words", nargs="*", metavar="key=value", help="keys of a scenario, and those named above")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print agents.json in place of the text")
    given = parser.parse_intermixed_args(argv)
    from sim.page.write import write_page
    from sim.printable import printable
    from sim.study.agents.asked import asked, folder_of
    from sim.study.agents.bill import bill_agents
    from sim.study.agents.found import JSON_NAME
    from sim.study.search.wording import wrapped

    found = asked(given.log, given.words)
    if not given.json:
        print(printable(f"{wrapped(found.question.receipt.lines())}\n"))
    try:
        bill = bill_agents(found, given.jobs)
    except KeyboardInterrupt:
        print(f"interrupted: what is played is kept in {folder_of(found)}; the same command goes on from there",
              file=sys.stderr)  # fmt: skip
        return 130
    print(json.dumps(bill.as_dict(), indent=1) if given.json else printable(str(bill)))
    page = write_page(bill.folder)
    if not given.json:
        print(printable(f"-> {bill.folder / JSON_NAME}\n-> {page}"))
    return 0
