"""The gate for continuous integration: right about budget and SLO, the same again, one line for bad input."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from omegaconf import OmegaConf

import sim.study.gate as gate
from sim.__main__ import main
from sim.report.attainment import Verdict, look_sizes
from sim.report.budget import ZONE, judge_budget_at_look
from sim.report.estimators import Interval
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError
from sim.study.search.evidence import Sample

SIZES = look_sizes(60)
BUDGET = 15_000.0
SCENARIO = "lengths: fixed\nhorizon_s: 600\narrivals.rate_per_s: 0.1\nscaling: {n_replicas: 2}\nslo: {ttft_s: 5}\n"


def verdict_of(mean_usd, rng, spread=0.05) -> Verdict:
    """Of one check of a scenario whose monthly cost is skewed about a known mean."""
    costs = (mean_usd * np.exp(spread * rng.standard_normal(SIZES[-1]) - spread**2 / 2)).tolist()
    for size in SIZES:
        verdict = judge_budget_at_look(costs[:size], BUDGET, SIZES).verdict
        if verdict is not Verdict.NOT_RESOLVED:
            break
    return verdict


@pytest.mark.parametrize("share, wrong", [(1 + 2 * ZONE, Verdict.MEETS), (1 - 2 * ZONE, Verdict.MISSES)])
def test_the_budget_is_judged_wrongly_less_than_one_time_in_a_hundred(share, wrong):
    verdicts = [verdict_of(share * BUDGET, np.random.default_rng([3, i])) for i in range(300)]
    assert verdicts.count(wrong) <= 2
    assert verdicts.count(Verdict.NOT_RESOLVED) < 150


def test_a_look_without_a_plan_is_wrong_too_often():
    """The wrong twin: the plain mean of ten replications against the budget, as a script would."""
    draws = 0.98 * BUDGET * np.exp(0.05 * np.random.default_rng(3).standard_normal((300, 10)))
    assert (draws.mean(axis=1) > BUDGET).sum() > 10


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.yaml").write_text(SCENARIO)
    return tmp_path / "chat.yaml"


def played(usd, attained=100):
    """Worlds in place of the simulator, by the number of replicas: the cost of a month, and calls attained of 100."""

    def play(config, number):
        luck = np.random.default_rng([number]).standard_normal()
        each = usd * config["scaling"]["n_replicas"] + 10 * luck
        return Sample(each, attained, 100, 1.0, luck)

    return play


def check(file, *words):
    return main(["check", str(file), "--jobs", "1", "--most", "40", *words])


def test_within_budget_and_slo_it_passes_and_says_so_in_xml_and_markdown(file, monkeypatch, capsys):
    monkeypatch.setattr(gate, "play_one", played(7_000))
    assert check(file, "--budget", "15000", "--junit", "out/a.xml", "--markdown", "out/a.md") == 0
    said = capsys.readouterr().out
    assert "chat.yaml: passes" in said and "model: llama_3_1_8b" in said and "seed: 1" in said
    suite = ElementTree.parse("out/a.xml").getroot()
    assert suite.get("tests") == "2" and suite.get("failures") == "0" and suite.find(".//failure") is None
    comment = (file.parent / "out/a.md").read_text()
    assert "✅" in comment and "$14,000" in comment and "| budget | $15,000 |" in comment


def test_a_cost_over_the_budget_fails_one_case_of_two(file, monkeypatch):
    monkeypatch.setattr(gate, "play_one", played(8_000))
    assert check(file, "--budget", "15000") == 1
    suite = ElementTree.parse("outputs/check/chat/check.xml").getroot()
    (failure,) = suite.findall(".//failure")
    assert failure.get("type") == "misses" and suite.get("failures") == "1"


def test_a_missed_slo_fails(file, monkeypatch):
    monkeypatch.setattr(gate, "play_one", played(7_000, attained=90))
    assert check(file, "--budget", "15000") == 1


def test_each_application_is_held_to_its_own_slo(file, monkeypatch, capsys):
    """98 % of all calls attain the SLO: enough where coding (95 %) lost the rest, too few where chat (99 %) did."""

    def played_with(chat, coding):
        own = {"chat": (chat, 500, 0.99), "coding": (coding, 500, 0.95)}
        return lambda config, number: Sample(7_000.0, chat + coding, 1000, 1.0, number, by_application=own)

    monkeypatch.setattr(gate, "play_one", played_with(500, 480))
    assert check(file, "--budget", "15000") == 0
    assert "99.0 % (chat) and 95.0 % (coding) of calls: chat 100 % (" in capsys.readouterr().out
    monkeypatch.setattr(gate, "play_one", played_with(480, 500))
    assert check(file, "--budget", "15000") == 1


def test_a_cost_less_than_its_half_width_is_told_by_its_bounds():
    assert gate.usd_interval(Interval(100.0, 50.0, 300.0, 20)) == "$100 ($50.00 to $300)"
    assert gate.usd_interval(Interval(100.0, 90.0, 112.0, 20)) == "$100 ±12"


def test_what_is_not_resolved_fails_unless_told_otherwise(file, monkeypatch, capsys):
    def wild(config, number):
        return Sample(14_900 + 3_000 * np.random.default_rng([number]).standard_normal(), 100, 100, 1.0, number)

    monkeypatch.setattr(gate, "play_one", wild)
    assert check(file, "--budget", "15000") == 1
    assert "by 40 replications, the most allowed; more by --most" in capsys.readouterr().out
    assert check(file, "--budget", "15000", "--unresolved", "pass") == 0


def test_the_change_since_before_is_paired(file, monkeypatch, capsys):
    """Both have the same luck, so that the difference is exact though each cost is not."""
    (file.parent / "main.yaml").write_text(SCENARIO.replace("n_replicas: 2", "n_replicas: 1"))
    monkeypatch.setattr(gate, "play_one", played(7_000))
    assert check(file, "--budget", "15000", "--before", "main.yaml") == 0
    assert (
        "before (main.yaml): $7,000" in (said := capsys.readouterr().out) and "now less before: $7,000, paired" in said
    )


def test_a_scenario_without_chance_is_played_once(file, monkeypatch, capsys):
    monkeypatch.setattr(gate, "play_one", lambda config, number: Sample(14_000.0, 99, 100, 1.0, 0.5))
    assert check(file, "--budget", "15000") == 0
    assert "the same in every replication" in capsys.readouterr().out


def test_the_simulator_itself_is_asked_and_says_the_same_again(file, capsys):
    words = ("--budget", "4500", "scaling.n_replicas=2")
    assert [check(file, *words) for _ in range(2)] == [0, 0]
    first, second = capsys.readouterr().out.split("chat.yaml: passes\n")[1:]
    assert first == second


def test_it_says_how_much_of_the_world_was_played():
    """A budget is held in the window that was looked at: a check that names another one promises too much."""
    played = parse(compose_config("horizon_s=5400", "warmup_s=60"))
    (line,) = [line for line in gate.rests_on(played) if line.startswith("window")]
    assert line == "window: 1.48 h after a warm-up of 1 min; a month of 730 h is 492 times as long"
    log = played.model_copy(update={"horizon_s": None})
    assert "window: as long as the traffic after a warm-up of 1 min, scaled to a month of 730 h" in gate.rests_on(log)


def test_the_config_of_a_run_is_a_scenario_too(file):
    config = OmegaConf.to_container(compose_config("lengths=fixed", "horizon_s=60"), resolve=True)
    file.write_text(OmegaConf.to_yaml(config))
    assert gate.read_scenario(file) == config
    with pytest.raises(ConfigError, match="is a whole configuration; change it there"):
        gate.read_scenario(file, ["gpu=l4"])


@pytest.mark.parametrize(
    "text, words, law",
    [
        ("gpu: l5", (), "is not one of"), ("[1, 2", (), "is not a scenario in YAML"), ("- a", (), "must be a mapping"),
        (SCENARIO, ("--budget", "-1"), "must be > 0"), (SCENARIO, ("--most", "3"), "must be >= 10"),
        ("scaling.n_replicas: 0", (), "n_replicas"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(file, capsys, text, words, law):
    file.write_text(text)
    given = list(words) if "--budget" in words else ["--budget", "15000", *words]
    assert check(file, *given) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and law in lines[0] and not (file.parent / "outputs").exists()
