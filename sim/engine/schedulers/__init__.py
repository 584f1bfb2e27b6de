"""OTHER SCHEDULERS than first come, first served: by priority, with room for whole answers, decode only."""
