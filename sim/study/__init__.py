"""MANY RUNS: replications, sweeps, tables of them, and other prices for what was simulated."""
