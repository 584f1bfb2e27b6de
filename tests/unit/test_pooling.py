"""Several replications in one row: the row agrees with itself, and with the requests of all replications together."""

import numpy as np
import pytest

from sim.records import Backend
from sim.report.metrics import audit_fractions, is_fraction
from sim.report.pooling import CI_SUFFIX, RATIOS, attained_calls, estimate, over_replications
from sim.scenarios import compose_config, parse
from sim.schema import AuditError
from sim.study.replicate import replicate

INF = float("inf")


def day(usd, tokens, requests=1000, attained=1.0, **more):
    return {
        "usd_total": usd, "input_tokens": tokens // 2, "output_tokens": tokens - tokens // 2,
        "usd_per_mtok_total": usd / tokens * 1e6 if tokens else None, "requests": requests, "requests_never_sent": 0,
        "slo_attainment_fraction": attained, "meets_slo": attained >= 0.99,
    } | more  # fmt: skip


def test_an_idle_night_is_paid_for_by_the_tokens_of_the_day():
    row = over_replications([day(10, 0), day(30, 8_000_000)])
    assert row["usd_per_mtok_total"] == pytest.approx(40 / 8)
    assert row["usd_total"] == 20


def test_a_percentile_is_averaged_and_a_mean_is_over_requests():
    busy, quiet = {"ttft_mean_s": 2.0, "requests_answered": 900}, {"ttft_mean_s": 1.0, "requests_answered": 100}
    row = over_replications([busy | {"ttft_p99_s": 8.0}, quiet | {"ttft_p99_s": 2.0}])
    assert row["ttft_mean_s"] == pytest.approx(1.9) and row["ttft_p99_s"] == 5.0


def test_a_pool_is_weighed_by_its_own_hours():
    rows = [
        {"pool_spot_busy_fraction_of_paid": 0.9, "pool_spot_gpu_hours_paid": 9.0, "gpu_hours_paid": 10.0},
        {"pool_spot_busy_fraction_of_paid": 0.1, "pool_spot_gpu_hours_paid": 1.0, "gpu_hours_paid": 10.0},
    ]
    assert over_replications(rows)["pool_spot_busy_fraction_of_paid"] == pytest.approx(0.82)


def test_pools_of_unlike_replicas_are_weighed_by_what_each_could_have_run():
    """Run 1: an hour busy on a replica with 2 slots, full. Run 2: an hour on one with 8, a quarter full. Over both
    4 of 10 slot-hours were used; weighing the runs by their busy GPU-hours, which are equal, would say 62.5 %. Likewise
    for tokens: an hour at a peak of 1 Mtok, half used, and one at 9 Mtok, a tenth used, are 1.4 of 10.
    """
    paid = {"gpu_hours_paid": 1.0, "busy_fraction_of_paid": 1.0}
    rows = [
        paid | dict(batch_fill_fraction=1.0, batch_slot_hours=2.0, token_fraction_of_peak=0.5, tokens_at_peak=1e6),
        paid | dict(batch_fill_fraction=0.25, batch_slot_hours=8.0, token_fraction_of_peak=0.1, tokens_at_peak=9e6),
    ]
    row = over_replications(rows)
    assert row["batch_fill_fraction"] == pytest.approx(0.4) and row["token_fraction_of_peak"] == pytest.approx(0.14)
    small = [{f"pool_small_{key}": value for key, value in row.items()} for row in rows]
    assert over_replications(small)["pool_small_batch_fill_fraction"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("night", "chat_usd"),
    [
        # No application called: the $4 of the night are divided as the $20 of the days, 14 to 6.
        ({"chat": None, "coding": None}, 14 / 20 * 24 / 3),
        # Only chat called: the night is its own.
        ({"chat": 4.0, "coding": 0.0}, (14 + 4) / 3),
    ],
)
def test_applications_pay_for_the_night_in_which_none_or_one_of_them_has_calls(night, chat_usd):
    rows = [
        {"usd_total": total}
        | {f"application_{name}_usd": usd for name, usd in parts.items()}
        | {f"application_{name}_usd_fraction": usd and usd / total for name, usd in parts.items()}
        for total, parts in ((10.0, {"chat": 6.0, "coding": 4.0}), (10.0, {"chat": 8.0, "coding": 2.0}), (4.0, night))
    ]
    row = over_replications(rows)
    assert row["application_chat_usd"] == pytest.approx(chat_usd)
    assert row["application_chat_usd_fraction"] == pytest.approx(chat_usd / 8)
    assert row["application_coding_usd"] + row["application_chat_usd"] == pytest.approx(row["usd_total"]) == 8
    assert row["application_coding_usd_fraction"] + row["application_chat_usd_fraction"] == pytest.approx(1)
    assert over_replications(rows[2:] * 3)["application_chat_usd"] == night["chat"]


def test_files_of_older_runs_lack_the_terms_and_are_averaged():
    assert over_replications([{"ttft_mean_s": 1.0}, {"ttft_mean_s": 2.0}])["ttft_mean_s"] == 1.5


def test_one_replication_is_what_it_says_to_the_last_bit():
    single = day(0.1 + 0.2, 7_777_777, attained=0.1 + 0.2)
    row = over_replications([single], attainment_target=0.99)
    assert {key: row[key] for key in single} == single
    assert row["slo_judgement"] == "one replication, not tested" and row["slo_attainment_fraction_low"] is None


def test_half_widths_are_given_only_where_they_mean_something():
    rows = [day(100 + i, 1_000_000, attained=0.9 + i / 1000, wait=10.0**i) for i in range(10)]
    assert over_replications(rows[:2])["usd_total" + CI_SUFFIX] is None
    three = over_replications(rows[:3])
    assert three["usd_total" + CI_SUFFIX] > 0 and three["slo_attainment_fraction" + CI_SUFFIX] is None
    ten = over_replications(rows)
    assert ten["slo_attainment_fraction" + CI_SUFFIX] > 0
    assert ten["wait" + CI_SUFFIX] is None  # one of ten values is nine tenths of the sum


def test_what_never_ended_has_no_interval():
    row = over_replications([{"ttft_p99_s": v, "name": "x", "cold": None} for v in (1.0, INF, 2.0)])
    assert row["ttft_p99_s"] == INF and row["ttft_p99_s" + CI_SUFFIX] is None
    assert row["cold"] is None and "name" not in row and row["replications"] == 3


def test_an_slo_is_judged_over_all_calls():
    """Two hours at 100 % and one at 80 %: an AND says no, the evidence says nothing yet."""
    rows = [day(1, 1000, attained=a) for a in (1.0, 1.0, 0.8)]
    row = over_replications(rows, attainment_target=0.99)
    assert row["meets_slo"] is None and row["slo_judgement"] == "not resolved"
    assert row["slo_attainment_fraction_low"] < 0.9333 < row["slo_attainment_fraction_high"]
    assert over_replications([day(1, 1000)] * 10, attainment_target=0.99)["meets_slo"] is True
    assert over_replications([day(1, 1000, attained=0.5)] * 3, attainment_target=0.99)["meets_slo"] is False
    assert attained_calls([day(1, 1000, requests=7, attained=3 / 7)]) == ([3], [7])


def test_fractions_are_known_by_name():
    assert is_fraction("busy_fraction_of_paid") and is_fraction("pool_spot_request_fraction")
    assert not is_fraction("usd_total")
    # A pool may be called low_fraction, and have more than one GPU-hour.
    assert not is_fraction("pool_low_fraction_gpu_hours_paid") and is_fraction("pool_low_fraction_request_fraction")
    audit_fractions({"pool_low_fraction_gpu_hours_paid": 7.0})
    assert estimate("busy_fraction_of_paid", [{"busy_fraction_of_paid": v} for v in (0.9, 1.0, 1.0)]).high <= 1


def test_a_share_above_all_of_it_is_a_defect():
    audit_fractions({"busy_fraction_of_paid": 1 + 1e-12, "prefix_hit_fraction": None, "usd_total": 7.0})
    for value in (1.01, -0.01, 1 + 1e-6, -1e-6, INF, float("nan")):
        with pytest.raises(AuditError, match="pool_spot_batch_fill_fraction"):
            audit_fractions({"requests": 3, "pool_spot_batch_fill_fraction": value})


@pytest.fixture(scope="module")
def played():
    """Three runs of agents under bursts on a fleet and an API: every ratio has terms."""
    words = (
        "tasks=agent", "arrivals=bursty", "arrivals.rate_per_s=0.3", "arrivals.mean_burst_s=60", "horizon_s=600",
        "warmup_s=60", "replications=3", "fleet=hybrid_overflow", "api=rate_limited", "model=llama_3_3_70b",
        "engine.tensor_parallel=4",
    )  # fmt: skip
    return replicate(parse(compose_config(*words)), keep_runs=True)


def test_every_quotient_of_a_row_agrees_with_its_other_columns(played):
    row = over_replications(played.per_replication)
    tokens = row["input_tokens"] + row["output_tokens"]
    assert row["usd_per_mtok_total"] == pytest.approx(row["usd_total"] / (tokens / 1e6), rel=1e-12)
    assert row["usd_per_mtok_output"] == pytest.approx(row["usd_total"] / (row["output_tokens"] / 1e6), rel=1e-12)
    assert row["usd_per_task"] == pytest.approx(row["usd_total"] / row["tasks_finished"], rel=1e-12)
    assert row["usd_per_request"] == pytest.approx(row["usd_total"] / row["requests_finished"], rel=1e-12)
    assert row["usd_per_month"] == pytest.approx(row["usd_total"] / row["window_s"] * 730 * 3600, rel=1e-12)
    assert row["prefix_hit_fraction"] == pytest.approx(row["cached_input_tokens"] / row["input_tokens"], rel=1e-12)


def test_means_are_over_the_requests_of_all_replications(played):
    row, waits_s, at_api = over_replications(played.per_replication), [], []
    for run in played.runs:
        requests, window = run.facts.requests, run.facts.window
        inside = (requests["task_arrived_s"] >= window.start_s) & (requests["task_arrived_s"] < window.end_s)
        ttft_s = (requests["first_token_s"] - requests["arrived_s"])[inside]
        waits_s.append(ttft_s[np.isfinite(ttft_s)])
        at_api.append(requests["backend"][inside] == Backend.API)
    assert len({len(w) for w in waits_s}) > 1  # or any mean would do
    assert row["ttft_mean_s"] == pytest.approx(np.concatenate(waits_s).mean(), rel=1e-12)
    assert row["api_request_fraction"] == pytest.approx(np.concatenate(at_api).mean(), rel=1e-12)


def test_every_ratio_finds_its_terms_in_a_real_row(played):
    for key, ratio in RATIOS.items():
        for row in played.per_replication:
            assert ratio.denominator(row, "") >= 0, key
            assert ratio.numerator is None or row[ratio.numerator] >= 0, key
