"""WHAT IT COST: audit the facts, sum up the billable use, apply a price list. Nothing here runs time."""
