"""READERS OF BENCHMARK RESULTS, one file per format, found by package: whatever the format, points come out."""
