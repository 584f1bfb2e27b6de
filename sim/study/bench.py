"""Kept from version 0.1: `python -m sim.study.bench` is `llm-traffic-sim bench`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["bench"]
    runpy.run_module("sim", run_name="__main__", alter_sys=True)
