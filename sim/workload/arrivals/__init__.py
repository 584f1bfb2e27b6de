"""WHAT ARRIVES, and when: processes that draw moments, the replay of a log, and clients in a closed loop.

`cox` holds the bases (`Source`, `Arrivals`) and the processes with a rate path; every other file is one kind.
"""
