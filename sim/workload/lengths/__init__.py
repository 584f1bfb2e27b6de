"""HOW MANY TOKENS a single call takes and gives. `lengths` holds the base, `Lengths`, and its kinds."""
