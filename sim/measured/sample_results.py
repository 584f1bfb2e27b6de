"""A small benchmark of a made-up server, to try calibration on: `llm-traffic-sim sample-results OUT.csv`.

The server is Llama-3.1-8B on an H100 that reads weights more slowly and does more work per layer and sequence than
conf/gpu/h100_sxm.yaml says; the figures are the simulator's own with a few per cent of noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sim.measured.play import play
from sim.measured.points import Figures, Point
from sim.measured.server import Server
from sim.scenarios import compose_config, parse

_TRUTH = {"weight_read_efficiency": 0.72, "layer_overhead_us": 40.0, "per_sequence_us": 25.0}
_LOADS = [(clients, shape) for clients in (1, 4, 16, 64, 128) for shape in ((256, 256), (2048, 256), (8192, 128))]
_NOISE = (0.03, 0.01, 0.01)  # of TTFT, TPOT and throughput


def write_sample_results(path: str | Path, seed: int = 1) -> int:
    """Write the benchmark as CSV; returns the number of operating points. Raises OSError if it cannot be written."""
    usual = parse(compose_config("gpu=h100_sxm", "model=llama_3_1_8b"))
    server = Server(usual.gpu, usual.model, usual.engine).with_values(_TRUTH)
    rng = np.random.default_rng(seed)
    lines = ["concurrency,input_tokens,output_tokens,ttft_ms,tpot_ms,throughput"]
    for clients, (prompt, answer) in _LOADS:
        point = Point("", "", prompt, answer, Figures(None, None, None), concurrency=clients)
        figures = play(server, point)
        ttft_s, tpot_s, rate = np.array(figures) * np.exp(rng.normal(0, _NOISE))
        lines.append(f"{clients},{prompt},{answer},{ttft_s * 1e3:.2f},{tpot_s * 1e3:.3f},{rate:.1f}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return len(_LOADS)
