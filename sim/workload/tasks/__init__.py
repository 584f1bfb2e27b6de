"""WHAT A TASK IS: how many calls, with what tokens, waits and shared prefixes. Every file but `base` is one kind."""
