"""Write benchmark results of a made-up server to try `calibrate` on.

The server is Llama-3.1-8B on an H100 that reads weights more slowly and does more work per layer and sequence than
conf/gpu/h100_sxm.yaml says; the figures are the simulator's own with a few per cent of noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Write the file. Returns 2 where it cannot be written."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim sample-results", description=__doc__)
    parser.add_argument("path", metavar="OUT.csv", help="file to write")
    path = parser.parse_args(argv).path
    from sim.measured.sample_results import write_sample_results

    try:
        n_points = write_sample_results(path)
    except OSError as error:
        print(f"error: {path}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(f"{path}: {n_points} operating points")
    return 0
