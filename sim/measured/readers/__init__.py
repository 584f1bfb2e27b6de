"""READERS OF MEASURED SERVERS, one file per format, found by package: whatever the format, points or runs come out."""
