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
    "sim/ledger/replica_path.py: _needs: `if length_s < window.length_s:`: < -> <=": (
        "Slots as long as the window are looked at once more; the bound is the most of all."
    ),
    "sim/ledger/replica_path.py: : `_MOST_ROWS_OF_LIVES = 64`: 64 -> 65": (
        "A bound on work: with one need more the least cost is as true, and hardly ever higher."
    ),
    "sim/routing/placement/spreading.py: PowerOfTwo.choose: `def choose(self, request: Request, replicas: "
    "Sequence[ReplicaView], salt: int = 0) -> ReplicaView:`: 0 -> 1": (
        "One salt spreads requests as well as another, and a run draws its own."
    ),
    "sim/workload/arrivals/client_mix.py: : `_SHAPES = np.geomspace(50.0, 0.05, 600)`: 50.0 -> 100.0": (
        "The ends of a grid for an interpolation: no shape moves by more than a ten-thousandth."
    ),
    "sim/engine/replica.py: Replica.stop: `self._tiered = None`: self._tiered = None -> pass": (
        "A replica that is lost is not asked again: what is loaded to it afterwards changes nothing."
    ),
    "sim/report/attainment.py: spending_bounds: `low, high = 0.0, 10.0`: 10.0 -> 20.0": (
        "A bracket that is halved sixty times ends at the same bound."
    ),
    "sim/study/results.py: _write_parquet: `table.to_parquet(partial, index=False)`: False -> True": (
        "Of a plain row number pandas writes no column either way."
    ),
    "sim/engine/kv_tiers.py: Tier.resident: `return self.memory.find(segments, prompt_tokens)[1]`: 1 -> 2": (
        "In a tier nothing is held: of the blocks that are found all are idle."
    ),
    "sim/engine/replica.py: Replica.cached_tokens: "
    "`return self._batch.memory.resident(segments, total + 1) * self._block_tokens`: 1 -> 2": (
        "A prompt longer by one more token finds no more blocks than its text has."
    ),
}
