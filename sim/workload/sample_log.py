"""Kept from version 0.1: `python -m sim.workload.sample_log` is `llm-traffic-sim sample-log`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["sample-log"]
    runpy.run_module("sim", run_name="__main__", alter_sys=True)
