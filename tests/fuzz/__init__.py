"""Files and words that nobody meant, drawn at random and always the same: each is used, or refused in one line.

`FUZZ=2000 python -m pytest tests/fuzz` draws that many of each kind; the suite draws a few.
"""
