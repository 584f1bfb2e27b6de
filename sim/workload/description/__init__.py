"""A LOG DESCRIBED: what arrives when, how long, in what sessions, and what prompts share (`card.card_of`)."""
