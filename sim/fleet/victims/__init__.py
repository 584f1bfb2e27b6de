"""WHICH REPLICA GOES when there are too many. `victims` holds the base, `Victim`."""
