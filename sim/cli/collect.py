"""Rebuild the table, verdict, figures and page of a sweep from the rows in its folder.

For a folder whose sweep was cut short, or whose table was lost. Nothing is simulated.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Rebuild. Raises ConfigError if the folder holds no finished scenario."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim collect", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of a sweep")
    parser.add_argument("--no-page", action="store_true", help="write no page.html")
    given = parser.parse_args(argv)
    from sim.study.collect import write_and_print

    write_and_print(given.folder, page=not given.no_page)
    return 0
