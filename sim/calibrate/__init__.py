"""Kept from version 0.1: `python -m sim.calibrate` is `llm-traffic-sim calibrate`; the code is in sim.measured."""
