"""WHAT TOKENS COST at an API."""
