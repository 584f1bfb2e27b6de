"""Kept from version 0.1: `python -m sim.reprice` is `llm-traffic-sim reprice`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["reprice"]
    runpy.run_module("sim", run_name="__main__", alter_sys=True)
