"""Hand-made tables of sweeps, as a study hands them to the report."""

import pandas as pd

from sim.report.attainment import judge
from sim.report.pooling import attained_calls, over_replications

INF = float("inf")


def run(cost, ttft_s=0.5, attained=0.995, **more):
    return dict(
        usd_total=cost, usd_per_mtok_total=cost / 1000, busy_fraction_of_paid=0.6, token_fraction_of_peak=0.2,
        batch_fill_fraction=0.1, ttft_p50_s=0.04, ttft_p95_s=ttft_s / 2, ttft_p99_s=ttft_s, e2e_p50_s=2.0,
        e2e_p95_s=4.0, e2e_p99_s=9.0, slo_attainment_fraction=attained, meets_slo=attained >= 0.99, cold_starts=3,
        api_request_fraction=0.0, requests=10_000, requests_never_sent=0,
    ) | more  # fmt: skip


TARGET = 0.99


def sweep(cells, times=10):
    """(table, replications) of {(shape, fleet): [summary per replication] or error text}.

    The SLO is judged as if several replications had been `times` as many of the same.
    """
    rows, single = [], []
    for (shape, fleet), runs in cells.items():
        label = dict(arrivals=shape, fleet=fleet)
        if isinstance(runs, str):
            rows.append(label | {"error": runs})
            continue
        as_many = runs * times if len(runs) > 1 else runs
        rows.append(label | over_replications(runs, judgements={"": judge(*attained_calls(as_many), TARGET)}))
        single += [label | {"replication": i} | summary for i, summary in enumerate(runs)]
    return pd.DataFrame(rows), pd.DataFrame(single)


WORLD = sweep({
    ("steady", "always_on"): [run(100 * f) for f in (0.8, 1.0, 1.2)],
    ("steady", "warm_floor"): [run(99 * f) for f in (0.8, 1.0, 1.2)],
    ("steady", "scale_to_zero"): [run(20, ttft_s=INF, attained=0.4)] * 3,
    ("bursty", "always_on"): [run(100, attained=0.7)] * 3,
    ("bursty", "api_only"): [run(250, attained=0.9, busy_fraction_of_paid=None)] * 3,
    ("bursty", "warm_floor"): "arrivals.rate_per_s = -5: must be [> 0]",
    ("diurnal", "always_on"): [run(100 + d) for d in (-5, 0, 5)],
    ("diurnal", "api_only"): [run(99 + d) for d in (5, 0, -5)],
})  # fmt: skip
