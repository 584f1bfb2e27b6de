"""Mistakes that change nothing anyone could see, by name (see `Mistake.name`), each with the reason."""

EQUIVALENT: dict[str, str] = {}
