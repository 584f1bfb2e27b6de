"""WHAT ARRIVES, and when: processes that draw moments, the replay of a log, and clients in a closed loop.

`base` holds the bases `Source` and `Arrivals`, `cox` that of processes with a rate path; every other file is one kind.
"""
