"""Kept from version 0.1: `python -m sim.calibrate` is `llm-traffic-sim calibrate`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["calibrate"]
    runpy.run_module("sim", run_name="__main__", alter_sys=True)
