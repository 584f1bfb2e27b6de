"""Apply other prices to a finished run or sweep; nothing is simulated.

The new bills go to OUTPUT/repriced/<prices>/; nothing is overwritten but an earlier re-pricing of the same name. `--by
hour` and `--by application` write the same bill in these parts beside it, bill_by_hour.csv and
bill_by_application.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Bill anew. Returns 1 if some scenarios could not be priced. Raises SimError for bad input."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim reprice", description=__doc__)
    parser.add_argument("output", type=Path, help="folder of a finished run or sweep")
    parser.add_argument("words", nargs="*", metavar="prices=NAME", help="or prices.key=value")
    parser.add_argument("--config-dir", type=Path, help="a folder with your own prices/NAME.yaml")
    parser.add_argument(
        "--by", action="append", choices=("hour", "application"), default=[],
        help="the bill in parts, too; may be repeated",
    )  # fmt: skip
    given = parser.parse_args(argv)
    from sim.study.reprice import reprice_folder, write_and_print

    folder = reprice_folder(given.output, given.words, given.config_dir, given.by)
    complete = write_and_print(folder)
    print(f"-> {folder}")
    return 0 if complete else 1
