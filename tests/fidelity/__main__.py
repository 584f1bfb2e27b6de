"""`make fidelity`: plays every file of measured runs that is at hand; arguments go to `llm-traffic-sim fidelity`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "fidelity"


def main() -> int:
    files = [*sorted(FOLDER.glob("*.json")), *FOLDER.glob("benchmarks.csv")]
    if not files:
        print("error: no measured runs are here; give a file to llm-traffic-sim fidelity", file=sys.stderr)
        return 2
    for file in files:
        print(file.name, flush=True)
        subprocess.run([sys.executable, "-m", "sim", "fidelity", str(file), *sys.argv[1:]], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
