"""As many replications as it takes: until the named metrics are sure enough, or the SLO is decided, or the cap."""

import json

import pytest

import sim
from sim.report.attainment import look_sizes
from sim.report.precision import STOPPING_CONFIDENCE
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError
from sim.study.replicate import replicate

TINY = ("horizon_s=300", "lengths=fixed", "lengths.output_tokens=50", "replications=auto")


def played(*words):
    return replicate(parse(compose_config(*TINY, *words)))


def test_what_hardly_varies_is_sure_at_once():
    result = played("study.precision.slo_attainment_fraction=null")
    assert len(result.per_replication) == 10
    assert result.notes[-1] == "10 replications: every metric of study.precision was sure enough at once"
    assert result.confidence == STOPPING_CONFIDENCE


def test_the_metric_that_varies_most_says_when():
    """Counts of Poisson arrivals vary by 1 / sqrt(150) = 8 %: 3 % takes 25 to 50 replications, the cost none."""
    words = (
        "+study.precision.requests=0.03",
        "study.max_replications=400",
        "study.precision.slo_attainment_fraction=null",
    )
    result = played(*words)
    n = len(result.per_replication)
    assert n in look_sizes(400) and n > 21
    assert result.notes[-1] == f"{n} replications: requests was the last to be sure enough"
    assert result.summary["requests_ci95"] <= 0.03 * result.summary["requests"]


def test_the_cap_is_kept_and_says_what_is_not_sure():
    result = played("+study.precision.requests=0.001", "study.max_replications=12")
    assert len(result.per_replication) == 12
    assert "12 replications, the most allowed: requests is known to ±" in result.notes[-1]
    five = played("study.max_replications=5", "+study.precision.requests=0.001")
    assert len(five.per_replication) == 5


def test_a_decided_slo_ends_it():
    """No request gets a first token within a nanosecond: plain at the first look, and the cost is precise by then."""
    lost = played("slo.ttft_s=1e-9")
    assert len(lost.per_replication) == 10 and lost.summary["slo_judgement"] == "misses"
    assert lost.summary["meets_slo"] is False
    kept = played("slo.ttft_s=100")
    assert len(kept.per_replication) == look_sizes(100)[1] and kept.summary["slo_judgement"] == "meets"


def test_the_same_seeds_come_first():
    """Adding replications changes none of those before: auto is a longer run of the same."""
    auto, three = played("study.max_replications=10"), played("replications=3")
    assert auto.per_replication[:3] == three.per_replication


@pytest.mark.parametrize(
    ("words", "law"),
    [
        (["+study.precision.usd_totl=0.1"], "did you mean usd_total?"),
        (["study.precision.usd_total=0"], "study.precision.usd_total = 0: "),
        (["+study.precision.slo_judgement=0.1"], "is not a metric"),
        (["study.max_replications=0"], "study.max_replications = 0: "),
        (["replications=many"], "replications"),
        (["replications=0"], "replications"),
    ],
)
def test_nonsense_is_refused_in_one_line(words, law):
    with pytest.raises(ConfigError, match=law.replace("?", r"\?")) as error:
        parse(compose_config(*TINY, *words))
    assert len(str(error.value)) < 200, "one line"


def test_python_says_auto_too():
    base = sim.scenario("lengths=fixed", horizon_s=60)
    result = sim.replicate(base, replications="auto")
    assert len(result.per_replication) >= 10
    with pytest.raises(ConfigError, match="must be >= 1"):
        sim.replicate(base, replications=0)


def test_a_p99_of_few_requests_says_so():
    few = replicate(parse(compose_config("horizon_s=100", "lengths=fixed", "replications=2")))
    assert any("p99" in note and "fewer than 100" in note for note in few.notes)
    many = replicate(parse(compose_config("horizon_s=600", "lengths=fixed", "replications=2")))
    assert not any("p99" in note for note in many.notes)


# The two cases that were wrong: a mean of ratios, and an AND over replications.


def test_cost_per_token_is_cost_over_tokens():
    words = (
        "arrivals=bursty",
        "scaling=scale_to_zero",
        "prices=runpod_serverless_flex",
        "horizon_s=7200",
        "warmup_s=600",
    )
    summary = replicate(parse(compose_config(*words, "arrivals.rate_per_s=0.1", "replications=5", "seed=5000"))).summary
    tokens = summary["input_tokens"] + summary["output_tokens"]
    assert summary["usd_per_mtok_total"] == pytest.approx(summary["usd_total"] / (tokens / 1e6), rel=1e-12)


@pytest.mark.slow
def test_more_replications_resolve_an_slo_rather_than_lose_it():
    """Bursts of a minute, beyond the limit: two hours of them say nothing yet, eight say that it is missed."""
    words = ("+experiment=what_utilization_really_is", "arrivals.burst_factor=4", "arrivals.exact_tasks=24000")
    scenario = parse(compose_config(*words, "seed=1"))
    judged = {n: replicate(scenario, n).summary for n in (2, 8)}
    assert judged[2]["slo_judgement"] == "not resolved" and judged[2]["meets_slo"] is None
    assert judged[8]["slo_judgement"] == "misses", json.dumps(judged[8], default=str)
