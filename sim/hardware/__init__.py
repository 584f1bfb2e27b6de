"""ON PAPER: cards, models, engine flags, what fits, and how long a step takes. No clock runs here."""
