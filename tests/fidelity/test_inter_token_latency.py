"""Inter-token latency of real servers against the step time, by a balance that needs no simulation.

At a steady rate r, Little's law gives n = r * E2E sequences in the batch, and each step carries r * step new prompts.
The step time at that batch is the ITL; it is found by iteration.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.hardware.engine import Engine
from sim.hardware.gpu import gpu_named
from sim.hardware.model import model_named

MEASURED = Path(__file__).resolve().parents[3] / "shared" / "fidelity" / "experiments.json"
NAMES = {"meta-llama/Llama-2-7b-hf": "llama_2_7b", "meta-llama/Llama-2-70b-hf": "llama_2_70b"}


def balanced_itl_s(step_time, rate_per_s: float, prompt: float, output: int) -> float:
    """ITL at which as many prompts enter as leave; all but the last block of a prompt is in the prefix cache."""
    past = (int(prompt) - 1) // 16 * 16
    chunk = (int(prompt) - past, past, True)
    itl_s = 0.0
    for _ in range(200):
        n = max(1, round(rate_per_s * itl_s * output))
        context = n * (prompt + output / 2)
        plain = step_time.step_s(n, context, ())
        mixed = step_time.step_s(n, context, [chunk]) - plain
        itl_s = 0.5 * itl_s + 0.5 * (plain + rate_per_s * itl_s * mixed)
    return itl_s


def measured_stages():
    if not MEASURED.is_file():
        pytest.skip(f"NOT CHECKED against measured servers: {MEASURED} is absent", allow_module_level=True)
    for run in json.loads(MEASURED.read_text())["experiments"]:
        for stage in run["stages"]:
            if not run["overloaded"]:
                yield run, stage


def error_of(run, stage) -> float:
    tp, cap = run["tensor_parallel"], run["engine"]["max_num_seqs"]
    engine = Engine(tensor_parallel=tp, max_num_seqs=cap)
    step = engine.step_time.build(gpu_named("h100_sxm"), model_named(NAMES[run["model"]]), engine)
    itl_s = balanced_itl_s(step, stage["rate_rps"], stage["prompt_tokens"]["mean"], stage["output_tokens"])
    return itl_s / stage["measured"]["itl_mean_s"] - 1


STAGES = list(measured_stages())


@pytest.mark.parametrize(("run", "stage"), STAGES, ids=[f"{r['id']}-{s['stage']}" for r, s in STAGES])
def test_inter_token_latency_is_that_of_the_measured_server(run, stage):
    assert abs(error_of(run, stage)) < 0.08


def test_mean_error_over_all_stages_is_small():
    errors = [abs(error_of(run, stage)) for run, stage in STAGES]
    assert sum(errors) / len(errors) < 0.03
