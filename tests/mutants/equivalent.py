"""Mistakes that change nothing anyone could see, by name (see `Mistake.name`), each with the reason."""

EQUIVALENT: dict[str, str] = {
    "sim/engine/scheduler.py: Scheduler.steps_to_next_change: "
    "`if available < (steps // self._block_tokens + 1) * self.n_decoding:`: 1 -> 2": (
        "The search that it leads to finds the same number of steps; only its time is saved."
    ),
    "sim/report/estimators.py: _on_natural_scale: "
    "`factor = math.exp(min(half_width / (estimate * (1 - estimate)), 300.0))`: 300.0 -> 600.0": (
        "Odds times or over exp(300) are a fraction of 1 or of 1e-130; neither exp overflows."
    ),
}
