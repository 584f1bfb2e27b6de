"""READERS of benchmark results: one file per format, operating points come out."""
