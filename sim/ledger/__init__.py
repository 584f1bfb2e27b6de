"""WHAT IT COST: audit the facts, sum up the billable use, apply a price list. None of it runs simulated time."""
