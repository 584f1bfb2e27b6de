"""WHAT A TASK IS: its calls, their tokens, waits and shared prefixes. `shapes` holds the base, `Tasks`."""
