"""Saved results that pages are made of: a decision written by hand, and small runs that are really played."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import sim
from sim.workload.logs.sample_log import write_sample_log
from tests.unit.cli import TINY

HOSTILE = "<script>alert(1)</script>\"'&x=1</style>{{7*7}}"


def decision(**more):
    """A decision.json with a winner, whose name is hostile, and a runner-up."""
    span = {"mean": 938.4, "low": 930.0, "high": 946.8, "replications": 20}
    share = {"mean": 0.995, "low": 0.993, "high": 0.997, "replications": 20}
    dear = {"mean": 1297.5, "low": 1290.0, "high": 1305.0, "replications": 20}
    final = {"words": ["fleet=api_only"], "slo_judgement": "meets", "slo_attainment_fraction": share, "repeats": False}
    first, second = ({"name": n, "usd_per_month": s} | final for n, s in ((HOSTILE, span), ("the API alone", dear)))
    played = [
        {"name": n, "kind": k, "command": f"llm-traffic-sim run x={n} fleet={k}", "usd_per_month": s,
         "slo_attainment_fraction": share | {"mean": m}, "slo_judgement": j}
        for n, k, s, m, j in (
            (HOSTILE, "always on", span, 0.995, "meets"), ("the API alone", "API alone", dear, 0.999, "meets"),
            ("=too small", "scale_to_zero", span, 0.6, "misses"), ("2 x l4", "always on", dear, 0.989, "not resolved"),
        )
    ]  # fmt: skip
    return {
        "sentence": f"Serve the model with {HOSTILE}.", "winner": first, "runner_up": second,
        "finalists": [first, second], "difference_usd_per_month": {"mean": 359.1, "low": 350.0, "high": 368.0},
        "flips": [
            {"key": "prices.gpu.usd_per_gpu_hour.l4", "name": "price of l4", "value": 0.67, "unit": "USD",
             "flips_at": 1.15, "to": "the API alone", "change_fraction": 0.72, "low_fraction": 0.7,
             "high_fraction": 0.75, "because": "costs less"},
            {"key": "prices.api.models.llama_3_1_8b.usd_per_mtok_input", "name": "price of input tokens at the API",
             "value": 0.18, "unit": "USD", "flips_at": 0.09, "to": "the API alone", "change_fraction": -0.5},
            {"key": "arrivals.scale.more_users", "name": "number of users", "value": 1.0, "unit": "x", "flips_at": 4.0,
             "to": None, "change_fraction": 3.0, "low_fraction": 2.0, "high_fraction": 3.5},
            {"key": "cold_start", "name": "cold-start time", "value": 1.0, "why_not": "no finalist starts replicas"},
        ],
        "error_budget": {
            "parts": [
                {"name": "seeds", "low_fraction": -0.01, "high_fraction": 0.01, "survives": True, "basis": "20"},
                {"name": "engine", "low_fraction": -0.05, "high_fraction": 0.3, "survives": False, "basis": "borrowed"},
                {"name": "traffic", "low_fraction": None, "high_fraction": None, "survives": None, "basis": "one day"},
            ],
            "together": {"name": "together", "low_fraction": -0.051, "high_fraction": 0.3, "survives": False},
            "worlds": 20, "worlds_won": 15,
        },
        "break_even_map": {
            "volume_factors": [0.5, 1.0, 2.0], "burst_exponents": [1.0, 2.0],
            "winners": [["the API alone", HOSTILE, HOSTILE], ["the API alone", "the API alone", None]],
            "usd_per_month": [[650.0, 938.4, 1500.0], [650.0, 1300.0, None]],
        },
        "scenarios": played, "slo_target_fraction": 0.99, "rests_on": ["seed 2"], "commands": ["llm-traffic-sim run"],
        "left_out": [{"name": "8 x l4", "reason": "does not fit"}], "unknown_to_this_version": {"a": 1},
        "simulations": 80, "today_usd_per_month": 2000.0, "saves_usd_per_month": 1061.6, "probability_best": 0.99,
    } | more  # fmt: skip


def agents(**more):
    """An agents.json of four rows, the dearest of which has a hostile name."""
    rows = [
        {"what": w, "name": n, "usd_per_task": {"mean": usd, "low": usd * 0.9, "high": usd * 1.1, "replications": 10},
         "usd_per_seat_and_month": {"mean": 80 * usd}, "usd_per_month": {"mean": 1600 * usd}, "times_the_first": times,
         "difference_usd_per_task": None if not times else {"mean": usd - 0.06}, "ttft_p95_s": 0.8, "task_mean_s": 500,
         "requests_per_task": 16.9, "input_tokens_per_task": 700_000, "cached_input_tokens_per_task": 640_000,
         "output_tokens_per_task": 6000, "tasks_finished_fraction": done, "slo_judgement": "meets", "command": "run x",
         "slo_attainment_fraction": {"mean": 0.99}, "doubts": ["65 % of tasks come to their end"] * (done < 1)}
        for w, n, usd, times, done in (
            ("as recorded", "API, cached input", 0.06, "", 1.0), ("as recorded", HOSTILE, 2.5, "41 (38-44)", 1.0),
            ("with qwen3_32b", "API", 0.03, "other tasks", 0.65), ("compacted", "API", 0.05, "0.8 unresolved", 1.0),
        )
    ]  # fmt: skip
    return {
        "sentence": f"API, cached input: $0.06 a task; {HOSTILE}.", "rows": rows, "below": ["817 seats cost as much."],
        "left_out": [{"name": "with x", "reason": "no price"}], "rests_on": ["seed: 1"],
    } | more  # fmt: skip


def sweep(folder: Path) -> sim.Table:
    """Three fleets, each of about 60 requests, which keep every request."""
    base = sim.scenario(*TINY, "output.requests=true", "output.spans=true")
    return sim.sweep(
        base, fleet=["hybrid_overflow", "api_only", "scale_to_zero"], study="three", outputs=folder, n_jobs=1
    )


def one_of_each(folder: Path) -> dict[str, Path]:
    """A folder of results of each kind: a decision with its winner and log, a sweep, a run, a log, a bill of agents."""
    played = sweep(folder)
    run = played.folder / played.frame["folder"][0]
    write_sample_log(str(folder / "my.csv"), 200, 1)
    sim.describe(folder / "my.csv").write(folder / "described")
    decided = folder / "decided"
    shutil.copytree(run, decided / "winner")
    shutil.copy(folder / "described" / "description.json", decided)
    (decided / "decision.json").write_text(json.dumps(decision()))
    billed = folder / "billed"
    billed.mkdir()
    shutil.copy(folder / "described" / "description.json", billed)
    (billed / "agents.json").write_text(json.dumps(agents()))
    found = {"decision": decided, "sweep": played.folder, "run": run, "described": folder / "described"}
    return found | {"agents": billed}
