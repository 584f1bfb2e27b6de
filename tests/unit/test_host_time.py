"""Host time by the token: tokenizers and detokenizers cap what a replica serves, and lose no request."""

from __future__ import annotations

import pytest

from sim.assembly import new_replica, requests_per_s_on_paper
from sim.engine.replica import Replica
from sim.event_loop import EventLoop
from sim.ledger.audit import audit
from sim.records import ReplicaState
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError
from sim.simulation import simulate

LOOP = [
    "arrivals=closed_loop", "arrivals.n_clients=8", "arrivals.n_tasks=40", "lengths=fixed", "horizon_s=null",
    "lengths.input_tokens=2000", "lengths.output_tokens=100", "engine.request_overhead_s=0",
]  # fmt: skip


def played(*words):
    scenario = parse(compose_config(*words))
    facts = simulate(scenario, measure_peak=False).facts
    audit(facts)
    return scenario, facts


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_prompts_are_served_than_the_tokenizers_do(workers):
    """2,000 tokens keep a worker busy for a second; without, the 40 requests take 12 s."""
    host = f"engine.host={{tokenizer_us_per_token:500,tokenizer_workers:{workers}}}"
    scenario, facts = played(*LOOP, host)
    last_s = facts.requests["finished_s"].max()
    assert 40 / workers <= last_s < 40 / workers + 2.5
    assert requests_per_s_on_paper(scenario, 2000, 100, 1.0) == workers
    begun_s = sorted(facts.requests["admitted_s"].tolist())
    assert all(later - earlier > 0.9 for earlier, later in zip(begun_s, begun_s[workers:], strict=False))


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_tokens_are_served_than_the_detokenizers_do(workers):
    """10 ms a token: 100 tokens a second and worker, 4,000 in all, and the steps' own time besides."""
    host = f"engine.host={{detokenizer_us_per_token:10_000,detokenizer_workers:{workers}}}"
    scenario, facts = played(*LOOP, host)
    last_s, without_s = (f.requests["finished_s"].max() for f in (facts, played(*LOOP)[1]))
    assert 40 / workers <= last_s < 40 / workers + without_s + 0.5
    assert requests_per_s_on_paper(scenario, 2000, 100, 100.0) <= workers


def test_a_step_takes_the_text_of_its_tokens_besides():
    """8 sequences and a prompt that it completes, not the one that it goes on with: 9 tokens of 10 us."""
    scenarios = [parse(compose_config(*words)) for words in ([], ["engine.host={detokenizer_us_per_token:10}"])]
    plain, hosted = (s.engine.step_time.build(s.gpu, s.model, s.engine) for s in scenarios)
    assert hosted.decode_s(8) - plain.decode_s(8) == pytest.approx(80e-6)
    batch = (8, 5000, [(100, 0, True), (100, 0, False)])
    assert hosted.step_s(*batch) - plain.step_s(*batch) == pytest.approx(90e-6)


def test_without_host_time_a_replica_is_the_plain_one():
    assert new_replica(EventLoop(), parse(compose_config())).func is Replica
    last_s = played(*LOOP)[1].requests["finished_s"].max()
    assert last_s < 13


def test_ten_thousand_tokens_of_a_prompt_that_is_cached_take_a_tenth_of_a_second():
    """The engine computes next to nothing of the second prompt; its tokens have to be made all the same."""
    words = [
        "arrivals=closed_loop", "arrivals.n_clients=1", "arrivals.n_tasks=2", "lengths=fixed", "horizon_s=null",
        "lengths.input_tokens=10000", "lengths.output_tokens=2", "tasks.shared_prefix_tokens=10000",
    ]  # fmt: skip
    ttft_s = []
    for host in ([], ["+engine/host=vllm_llm_d"]):
        requests = played(*words, *host)[1].requests
        assert requests["cached_input_tokens"][1] > 9_900
        ttft_s.append(requests["first_token_s"][1] - requests["arrived_s"][1])
    assert ttft_s[1] - ttft_s[0] == pytest.approx(0.1)


@pytest.mark.parametrize("lost", ["restart", "resume", "fail"])
def test_no_request_is_lost_with_a_replica_and_none_is_served_twice(lost):
    """The audit is of every request; replicas fail every few minutes, with prompts on their hosts."""
    words = [
        "arrivals.rate_per_s=3", "horizon_s=1800", "gpu=l4", "scaling.n_replicas=3", "queue.stopped_fraction=0.3",
        "queue.client_timeout_s=20", "queue.patience_s=10", "reliability=gpu_failures", "cold_start=instant",
        "reliability.gpu_mtbf_hours=0.1", f"reliability.lost_requests={lost}",
        "engine.host={tokenizer_us_per_token:300,detokenizer_us_per_token:3000}",
    ]  # fmt: skip
    facts = played(*words)[1]
    assert facts.replicas_lost > 5 and facts.requests["retries"].max() >= (lost != "fail")


def test_a_fleet_at_zero_stays_up_while_a_prompt_is_tokenized():
    """Ten seconds of host time in front of the engine are no idleness: the idle timeout is five."""
    facts = played(
        "arrivals.rate_per_s=0.01", "horizon_s=3600", "fleet=scale_to_zero", "scaling.idle_timeout_s=5",
        "cold_start=instant", "lengths=fixed", "lengths.input_tokens=1000", "lengths.output_tokens=10",
        "engine.host={tokenizer_us_per_token:10000}",
    )[1]  # fmt: skip
    assert (facts.requests["outcome"] == 0).all() and len(facts.requests["outcome"]) > 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["engine.host={tokenizer_workers:2}"],
            "engine.host.*needs tokenizer_us_per_token or detok",
        ),
        (["engine.host={tokenizer_us_per_token:-1}"], "tokenizer_us_per_token = -1: should be greater than or equal"),
        (["+engine/host=vllm_llm_d", "engine.host.tokenizer_workers=0"], "tokenizer_workers = 0"),
        (
            ["+engine/host=vllm_llm_d", "disaggregation={prefill_replicas:1,link_gb_per_s:50}"],
            "engine.host: is not",
        ),
    ],
)
def test_a_host_that_means_nothing_is_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        parse(compose_config(*words))


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["engine.kv_cache_blocks=20"], True),
        (["engine.max_queue=0", "arrivals.rate_per_s=3"], True),
        (["engine.kv_cache_blocks=20", "api=ideal", "routing=overflow_on_queue", "routing.on_refusal=true"], False),
        (["reliability=gpu_failures", "reliability.gpu_mtbf_hours=0.02", "scaling.n_replicas=2"], False),
    ],
)
def test_a_host_works_on_prompts_that_its_engine_never_serves(words, refused):
    """Half a second of the host on a prompt keeps a replica busy; then the engine refuses it, or the replica is lost.
    The books balance all the same."""
    host = ("engine.host={tokenizer_us_per_token:1000,tokenizer_workers:1}", "cold_start=instant")
    _, facts = played("lengths=fixed", "horizon_s=600", "arrivals.rate_per_s=0.3", *host, *words)
    assert (facts.requests["refusal"] > 0).any() == refused
    busy_s = (facts.spans["end_s"] - facts.spans["start_s"])[facts.spans["state"] == ReplicaState.BUSY]
    assert busy_s.sum() > 0.4 * len(facts.requests["arrived_s"])
