"""Write a small request log to try replay on.

The file has the columns of Azure's LLM inference traces and is a function of --requests and --seed: bursty arrivals of
two requests per second on average, with the token lengths of chats. With --agents N it is a week of N developers'
sessions with a coding agent, which name their users.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Write the file. Returns 2 where it cannot be written."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim sample-log", description=__doc__)
    parser.add_argument("path", metavar="OUT.csv", help="file to write")
    parser.add_argument("--requests", type=int, default=2000, help="number of rows of chats (default 2000)")
    parser.add_argument("--agents", type=int, metavar="N", help="developers whose sessions it holds, in place of chats")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another log (default 1)")
    given = parser.parse_args(argv)
    if given.requests < 1 or given.seed < 0:
        parser.error(f"--requests must be >= 1 and --seed >= 0, not {given.requests} and {given.seed}")
    if given.agents is not None and given.agents < 1:
        parser.error(f"--agents must be >= 1, not {given.agents}")
    from sim.workload.logs.sample_log import write_sample_log, write_sample_sessions

    try:
        if given.agents is None:
            write_sample_log(given.path, given.requests, given.seed)
            print(f"{given.path}: {given.requests} requests")
        else:
            calls, sessions = write_sample_sessions(given.path, given.agents, given.seed)
            print(f"{given.path}: {calls} requests in {sessions} sessions of {given.agents} users")
    except OSError as error:
        print(f"error: {given.path}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0
