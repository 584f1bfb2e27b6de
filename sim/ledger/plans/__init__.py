"""WHAT A GPU COSTS: the ways a provider bills the seconds of one."""
