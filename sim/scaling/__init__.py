"""HOW MANY replicas a fleet should have: one file per family of rules, all derived from `scaler.Scaler`.

A rule sees a `FleetView` and answers a number; no rule knows the fleet itself.
"""
