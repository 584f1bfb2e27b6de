"""Kept from version 0.1: `python -m sim.calibrate.sample_results` is `llm-traffic-sim sample-results`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["sample-results"]
    runpy.run_module("sim", run_name="__main__", alter_sys=True)
