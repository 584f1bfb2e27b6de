"""Write the page of a folder of results: a decision, a sweep, a run, or a log's description.

One HTML file with the answer, figures and tables, which opens from disk, loads nothing, and can be printed:
decision.html, description.html, or page.html for a run or a sweep. It shows what is saved and simulates nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Write the page. Raises SimError for a folder without results, or with damaged ones."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim page", description=__doc__)
    parser.add_argument("folder", type=Path, help="what decide, describe, run or a sweep wrote, such as outputs/by_gpu")
    given = parser.parse_args(argv)
    from sim.page.write import write_page

    print(f"-> {write_page(given.folder)}")
    return 0
