"""GPU time after the end of a log: paid until the last answers are done, and part of what a month costs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sim.ledger.usage import Usage
from sim.study.search.evidence import Sample

WORTH_SAYING = 0.02
"""Of the bill: a smaller part is not told."""


def fraction_after_the_end(samples: Sequence[Sample]) -> float:
    """The part of the bills that is GPU time after the window; 0 without GPUs, or where what was used is not kept.

    All GPU-hours of a replication are taken to cost the same.
    """
    after_usd = all_usd = 0.0
    for sample in samples:
        figures = sample.figures or {}
        all_usd += sum(figures.get(f"usd_{kind}") or 0.0 for kind in ("gpu", "api", "overhead"))
        if sample.usage is not None and (gpu_usd := figures.get("usd_gpu")):
            usage = Usage.from_json(json.dumps(sample.usage))
            after_usd += gpu_usd * usage.gpu_hours_after_window / usage.gpu_hours_paid
    return after_usd / all_usd if all_usd else 0.0
