"""Options of an engine, from the config to the summary."""

from __future__ import annotations

import pytest

from sim.scenarios import compose_config, parse
from sim.schema import ConfigError
from sim.simulation import simulate
from sim.study.replicate import replicate
from sim.work import Outcome

HOUR = ["horizon_s=400", "arrivals.rate_per_s=6", "seed=3"]
FP8 = ["engine.weight_dtype=fp8", "engine.kv_dtype=fp8"]


def summary(*options):
    return replicate(parse(compose_config(*HOUR, *options))).summary


def test_fp8_is_faster_at_everything_on_a_card_that_computes_in_it():
    plain, fp8 = summary(), summary(*FP8)
    assert 0.5 < fp8["tpot_p50_s"] / plain["tpot_p50_s"] < 0.9  # at most half the bytes, and overheads stay
    assert fp8["ttft_p50_s"] < plain["ttft_p50_s"]
    assert fp8["output_tokens"] == plain["output_tokens"]


def test_fp8_reads_less_and_computes_no_faster_on_a_card_without_it():
    one_prompt = ["gpu=a100_80gb_sxm", "lengths=fixed", "lengths.output_tokens=1", "arrivals.rate_per_s=0.05"]
    long = ["lengths.input_tokens=2000"]
    plain, fp8 = summary(*one_prompt, *long), summary(*one_prompt, *long, *FP8)
    assert fp8["ttft_p50_s"] == pytest.approx(plain["ttft_p50_s"], rel=0.05)
    decode = ["gpu=a100_80gb_sxm", "lengths=fixed", "lengths.input_tokens=16", "arrivals.rate_per_s=0.05"]
    assert summary(*decode, *FP8)["tpot_p50_s"] < 0.8 * summary(*decode)["tpot_p50_s"]


def test_fp8_makes_room_for_twice_the_context():
    short = ["gpu=rtx_4090", "tasks=agent", "arrivals.rate_per_s=0.2"]
    plain, fp8 = summary(*short), summary(*short, *FP8)
    assert plain["preemptions"] > 10 * fp8["preemptions"]
    assert fp8["recomputed_tokens"] < 0.1 * plain["recomputed_tokens"]


def test_drafts_speed_up_a_server_with_few_readers():
    plain, drafted = summary(), summary("engine.speculative={draft_tokens:3,acceptance_rate:0.8}")
    assert 1.8 < plain["tpot_p50_s"] / drafted["tpot_p50_s"] < 4.5  # 2.95 tokens per step, and a smaller batch
    with pytest.raises(ConfigError, match="256 x 33 tokens"):
        summary("engine.speculative={draft_tokens:32,acceptance_rate:0.8}")


PRIORITY = ["arrivals.rate_per_s=60", "engine.max_num_seqs=64", "tasks.priority_shares={0:0.2,1:0.8}"]


def waits_by_priority(policy):
    scenario = parse(compose_config(*HOUR, *PRIORITY, "horizon_s=60", f"engine.scheduling_policy={policy}"))
    requests = simulate(scenario, measure_peak=False).facts.requests
    assert (requests["outcome"] == Outcome.FINISHED).all()
    assert (requests["priority"] == 0).mean() == pytest.approx(0.2, abs=0.02)
    wait_s = requests["admitted_s"] - requests["arrived_s"]
    return [wait_s[requests["priority"] == level].mean() for level in (0, 1)], wait_s.mean()


def test_the_urgent_hardly_wait_in_an_overloaded_fleet_and_the_others_wait_longer():
    (urgent_s, other_s), mean_s = waits_by_priority("priority")
    (urgent_fcfs_s, other_fcfs_s), mean_fcfs_s = waits_by_priority("fcfs")
    assert urgent_fcfs_s == pytest.approx(other_fcfs_s, rel=0.05)
    assert urgent_s < 0.1 * urgent_fcfs_s and other_s > other_fcfs_s
    assert mean_s == pytest.approx(mean_fcfs_s, rel=0.05)  # the work is the same: who waits changes, not how much


def test_a_log_says_who_is_urgent(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("arrived_s,input_tokens,output_tokens,priority\n0,10,5,3\n1,10,5,-1\n2,10,5,0\n")
    scenario = parse(compose_config("arrivals=replay", f"arrivals.path={log}"))
    assert simulate(scenario, measure_peak=False).facts.requests["priority"].tolist() == [3, -1, 0]
    log.write_text("arrived_s,input_tokens,output_tokens,priority\n0,10,5,high\n")
    with pytest.raises(Exception, match="line 2, column 'priority': 'high' is not a whole number"):
        simulate(scenario, measure_peak=False)


@pytest.mark.parametrize("shares", ["{0:0.5,1:0.6}", "{0:-1,1:2}", "{}"])
def test_shares_that_make_no_whole_are_refused(shares):
    with pytest.raises(ConfigError, match="tasks.priority_shares"):
        parse(compose_config(f"tasks.priority_shares={shares}"))
