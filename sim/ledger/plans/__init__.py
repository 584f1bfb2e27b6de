"""WHAT A GPU COSTS: the ways a provider bills the seconds of one, `metered` or `committed`; `base` holds the base."""
