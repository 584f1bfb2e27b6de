"""WHAT WAS MEASURED on real servers: read, played again, compared, and constants fitted to it."""
