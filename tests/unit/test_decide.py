"""`decide` goes from a log to a fleet: what it looks at, what it rules out on paper, and what would turn the answer."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

import sim
import sim.study.search.found as found_of
import sim.study.search.portfolio as portfolio_of
from sim.composition import Composition
from sim.conf_path import conf_dir
from sim.ledger.prices import Prices
from sim.page.write import page_of
from sim.scenarios import compose_config
from sim.study.search import decide as decides
from sim.study.search import lab as labs
from sim.study.search import tune, tuned_fleets
from sim.study.search.asked import billed
from sim.study.search.decide import Decision, decide
from sim.study.search.evidence import Evidence
from sim.study.search.lab import Lab
from sim.study.search.portfolio import _without_a_price, portfolio
from sim.study.search.question import question
from sim.study.search.repriced import price_flips
from sim.workload.logs.sample_log import write_sample_log

WORDS = ["gpu=l4", "engine.tensor_parallel=1", "engine.weight_dtype=fp8", "prices=market_2026"]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Decision:
    folder = tmp_path_factory.mktemp("decide")
    write_sample_log(str(folder / "my.csv"), 100, 1)
    slo = ["slo.ttft_s=5", "slo.attainment_fraction=0.9"]  # leaves room for a queue before the API is asked
    words = [*WORDS, *slo, f"output.dir={folder}", "today.usd_per_month=5000"]
    return decide(question(str(folder / "my.csv"), words), n_jobs=1, most=10, quick=True)


def test_every_way_to_run_the_card_is_looked_at_and_the_answer_is_one_of_them(found):
    names = {family.name for family in found.portfolio.families}
    assert names == {
        "API alone", "always on, l4", "warm floor, l4", "overflow to the API, l4",
        next(name for name in names if name.startswith("scale to zero")),
    }  # fmt: skip
    assert found.feasible and found.answer.winner.candidate in found.portfolio.names
    assert all(final.judgement.reached for final in found.answer.finals)


def test_no_fleet_costs_less_than_it_can_on_paper(found):
    floors = {
        w: f for family in found.portfolio.families for w, f in zip(family.ladder, family.floors_usd, strict=True)
    }
    played = {words: found.evidence.cost(words).mean for words in found.evidence.samples}
    assert len(played) >= 4
    meeting = [w for w, judgement in found.evidence.judged().items() if judgement.reached]
    tuned = {trial.candidate: t.tuning.before for t in found.answer.tuned for trial in t.tuning.trials}
    assert meeting and all(floors[tuned.get(words, words)] <= played[words] * (1 + 1e-9) for words in meeting)


def test_what_was_ruled_out_on_paper_could_not_have_won(found):
    winner_usd = found.answer.winner.search_cost.mean
    out = [s.family for s in found.answer.searched if str(s.came).endswith("not played")]
    assert all(min(family.floors_usd) >= winner_usd for family in out)
    assert not {words for family in out for words in family.ladder} & set(found.evidence.samples)


def test_at_the_price_where_it_flips_both_cost_the_same_and_beyond_it_the_other_wins(found):
    winner, second = (billed(asked_of(found), final) for final in found.answer.finals[:2])
    turning = [flip for flip in price_flips(winner, [second]) if flip.change is not None]
    assert turning
    for flip in sorted(turning, key=lambda flip: abs(flip.change))[:2]:
        path = flip.key.split(".")[1:]

        def lead_at(usd, path=path):
            costs = []
            for side in (winner, second):
                prices = Prices.model_validate(json.loads(json.dumps(side.prices))).model_dump()
                tree = prices
                for key in path[:-1]:
                    tree = tree[key]
                tree[path[-1]] = usd
                costs.append(side.usd(prices))
            return costs[1] - costs[0]

        assert lead_at(flip.value) > 0 and abs(lead_at(flip.flips_at)) < 1e-6 * lead_at(flip.value) + 1e-6
        beyond = flip.flips_at + 0.05 * (flip.flips_at - flip.value)
        assert lead_at(beyond) < 0 < lead_at(flip.flips_at - 0.05 * (flip.flips_at - flip.value))
        near, far = (abs(end - flip.value) for end in (flip.low, flip.high))
        assert (
            near <= abs(flip.flips_at - flip.value) * (1 + 1e-9) <= far * (1 + 2e-9) and min(flip.low, flip.high) >= 0
        )
        assert flip.how == "priced" and flip.to == second.name


def asked_of(found):
    """As much of it as re-pricing needs."""
    return SimpleNamespace(
        scenario=found.lab.scenario, config=found.lab.config, name_of=found.portfolio.names.__getitem__
    )


def test_the_commands_reproduce_the_numbers(found):
    words = shlex.split(found.commands[0])[2:]
    final = found.answer.winner
    one = sim.simulate(sim.scenario(*words))
    assert one.summary["usd_per_month"] == pytest.approx(final.samples[0].usd, rel=1e-12)
    assert one.summary["slo_attainment_fraction"] * final.samples[0].calls == pytest.approx(final.samples[0].attained)


def test_text_and_json_say_the_same_within_eighty_columns(found):
    lines, data = str(found).splitlines(), json.loads((found.folder / "decision.json").read_text())
    prose = [line for line in lines if str(found.folder) not in line and "arrivals.path" not in line]
    assert max(map(len, prose)) <= 80
    assert " ".join(" ".join(lines).split()).startswith(" ".join(data["sentence"].split()))
    assert data["saves_usd_per_month"] == pytest.approx(5000 - data["winner"]["usd_per_month"]["mean"])
    assert any(line.startswith("traffic: less than two whole days") for line in data["rests_on"])
    assert any("model error, beside ±" in line for line in data["rests_on"])


def test_its_page_shows_every_scenario_and_the_winner_played_once_more(found):
    page = page_of(found.folder)
    sections = {section.key: section for section in page.sections}
    assert page.answer == found.as_dict()["sentence"]
    listed = {row[0].text for row in sections["scenarios"].grids[0].rows}
    assert listed == {found.name_of(candidate) for candidate in found.evidence.samples}
    assert sections["bill"].figures and sections["worst-hour"].figures and sections["traffic"].figures


def test_a_decision_tunes_its_overflow_and_what_it_saves_stands_on_fresh_seeds(found):
    (tuned,) = found.answer.tuned
    tuning, winner = tuned.tuning, found.answer.winner
    assert tuned.is_taken and winner.candidate == tuning.after
    assert tuned.saves.mean + (tuned.saves.half_width or 0.0) > 0
    assert winner.cost.mean < 0.95 * found.evidence.cost(tuning.before).mean and winner.judgement.reached
    assert tuning.before not in [final.candidate for final in found.answer.finals]
    assert {number for trial in tuning.trials for number, _ in enumerate(found.evidence.samples[trial.candidate])}
    words = shlex.split(found.commands[0])[2:]
    (word,) = [word for word in words if word.startswith("routing.queue_per_replica=")]
    assert word.partition("=")[2].isdigit()  # of a single replica: a limit on whole requests
    again = sim.simulate(sim.scenario(*words))
    assert again.summary["usd_per_month"] == pytest.approx(winner.samples[0].usd, rel=1e-12)


def test_text_data_and_page_say_what_was_tuned(found):
    data = json.loads((found.folder / "decision.json").read_text())
    (told,) = data["tuned"]
    (knob,) = told["knobs"]
    assert knob["key"] == "routing.queue_per_replica" and knob["configured"] == 0 < knob["tuned"]
    assert tune.n_trials(1) <= told["trials"] <= tune.n_trials(1) + 2
    assert data["simulations"] == found.answer.n_played > 60
    text = " ".join(str(found).split())
    assert f"routing.queue_per_replica 0 -> {knob['tuned']:g} saves $" in text and "on fresh seeds" in text
    assert "% of it is GPU time after the log's end" in text  # minutes of a log, seconds of its last answers
    sections = {section.key: section for section in page_of(found.folder).sections}
    assert sections["tuning"].grids[0].rows[0][3].value == knob["tuned"]
    listed = {row[0].text for row in sections["scenarios"].grids[0].rows}
    assert listed == {found.name_of(candidate) for candidate in found.evidence.samples}


def test_without_optuna_one_line_says_what_is_not_searched(found, monkeypatch):
    monkeypatch.setattr(tuned_fleets, "is_installed", lambda: False)
    fleets = tuned_fleets.TunedFleets(found.lab, found.portfolio, found.evidence, lambda *_: None)
    assert fleets.tune([final.candidate for final in found.answer.finals]) == []
    without = replace(found, not_tuned=tuple(fleets.as_configured))
    line = f"thresholds and timeouts are not searched (routing.queue_per_replica): {tune.INSTALL}"
    assert line in " ".join(str(without).split())


def test_the_same_question_plays_nothing_again(found, monkeypatch):
    monkeypatch.setattr(labs, "play_one", lambda *_: pytest.fail("was played before"))
    again = decide(found.question, n_jobs=1, most=10, quick=True)
    assert again.as_dict() == found.as_dict()


@pytest.mark.slow
def test_nothing_in_time_is_code_four_and_names_what_would_give(play, tmp_path):
    write_sample_log(str(tmp_path / "my.csv"), 40, 1)
    said = play("decide", "my.csv", *WORDS, "slo.ttft_s=0.1", "--jobs", "1", "--quick")
    assert said.code == 4 and "Nothing that was looked at serves llama_3_1_8b" in said.out
    assert "all time limits x " in said.out
    (path,) = tmp_path.rglob("decision.json")
    limits, share, other = json.loads(path.read_text())["relaxations"]
    assert share["what"].startswith("slo.attainment_fraction=0") and limits["usd_per_month"]["mean"] > 0
    assert other["what"] == f"without {' '.join(WORDS)}" and other["words"][0].startswith("gpu=")


def test_a_fleet_of_another_card_is_judged_on_seeds_that_its_search_did_not_know(found, monkeypatch):
    """Otherwise the one that chance favoured in the search would be offered at its lucky cost."""
    seeds = []

    def looked_for(families, evidence, fresh):
        seeds.append((evidence.world.seed, fresh.seed))
        return SimpleNamespace(winner=None)

    monkeypatch.setattr(decides, "search", looked_for)
    labs_of_both = tuple(Lab(found.question.base, found.folder, 1, is_fresh) for is_fresh in (False, True))
    assert decides._on_other_cards(found.question, found.portfolio, labs_of_both, None, 10) == []
    ((known, fresh),) = seeds
    assert fresh != known == found.lab.seed


@pytest.mark.slow
def test_a_card_is_looked_at_reserved_and_on_spot_on_every_list_that_says_so(tmp_path):
    """A floor of spot is below the hours of the list, as a missing replica is not paid, and the same for each size."""
    write_sample_log(str(tmp_path / "my.csv"), 40, 1)
    words = ["gpu=h100_sxm", "engine.tensor_parallel=1", "engine.weight_dtype=fp8", f"output.dir={tmp_path}"]
    asked = question(str(tmp_path / "my.csv"), words)
    lab = Lab(asked.base, tmp_path, 1)
    families = portfolio(lab, asked.card, asked.load).families
    floors = {family.name: family.floors_usd[0] for family in families if family.name.startswith("reserved")}
    for listed in ("reserved_and_spot", "aws_capacity_block_reserved"):
        usd_per_hour = compose_config(f"prices={listed}").prices.gpu.usd_per_gpu_hour["h100_sxm"]
        assert floors[f"reserved ({listed}) with the API behind, h100_sxm"] >= 0.99 * 730 * usd_per_hour
    assert "reserved (reserved_and_spot) with spot and the API behind, h100_sxm" in floors
    named = {family.name: family for family in families}
    spot = named["spot (nebius_spot) with the API behind, h100_sxm"]
    usd_per_hour = compose_config("prices=nebius_spot").prices.gpu.usd_per_gpu_hour["h100_sxm"]
    assert 0.2 * 730 * usd_per_hour < spot.floors_usd[0] < 730 * usd_per_hour
    assert [w[-1] for w in spot.ladder] == [f"scaling.n_replicas={n}" for n in range(1, len(spot.ladder) + 1)]
    assert spot.floors_usd == pytest.approx([n * spot.floors_usd[0] for n in range(1, len(spot.ladder) + 1)])
    assert {"reliability=spot", "fleet=hybrid_overflow", "prices=nebius_spot"} <= set(spot.ladder[0])
    stand_ins = named["spot (nebius_spot_or_on_demand) or on demand with the API behind, h100_sxm"]
    on_demand = "reliability.spot.on_demand_fallback=true"
    assert on_demand in stand_ins.ladder[0] and on_demand not in spot.ladder[0]
    told = SimpleNamespace(base=SimpleNamespace(words={"reliability": "reliability=gpu_failures"}))
    assert portfolio_of._spot(None, None, told, None) is None, "a reliability that the words give is not changed"


def test_the_commands_are_those_of_fleets_with_as_many_replications_as_differ(monkeypatch):
    monkeypatch.setattr(found_of, "command", lambda base, words, replications: f"{base} {words[0]} x {replications}")
    finals = [SimpleNamespace(candidate=c, repeats=r) for c, r in ((("a",), False), (("b",), True), ("varied", False))]
    answer = SimpleNamespace(finals=finals, n_fresh=20)
    asked = SimpleNamespace(question=SimpleNamespace(base="run"), answer=answer)
    assert found_of.Found.commands.fget(asked) == ["run a x 20", "run b x 1"]


def test_cards_without_a_price_are_named_with_the_words_that_give_them_one(found):
    prices = {"config": {"prices": found.question.base.config["prices"]}}
    ((names, why),) = _without_a_price(SimpleNamespace(words={}, **prices))
    listed = Prices.model_validate(prices["config"]["prices"]).gpu.table
    cards = {path.stem for path in (conf_dir() / "gpu").glob("*.yaml")}
    assert set(names.split(", ")) == cards - set(listed) and "l4" in listed
    assert f".{names.split(', ')[0]}=<USD>" in why
    assert not list(_without_a_price(SimpleNamespace(words={"gpu": "gpu=l4"}, **prices)))


@pytest.mark.slow
def test_the_whole_answer_says_what_would_change_it_and_what_it_may_be_off(play, tmp_path):
    write_sample_log(str(tmp_path / "my.csv"), 60, 1)
    said = play(
        "decide", "my.csv", *WORDS, "today.date=2026-11-29", "prices.gpu.usd_per_gpu_hour.l4=0.5", "--jobs", "1"
    )
    assert said.code == 0, said.err
    (path,) = tmp_path.rglob("decision.json")
    data = json.loads(path.read_text())
    parts = {part["name"]: part for part in data["error_budget"]["parts"]}
    assert set(parts) >= {"seeds", "traffic", "prices"} and data["error_budget"]["worlds"] == 20
    assert "GPU prices given by you" in parts["prices"]["basis"] and "100 days old" in parts["prices"]["basis"]
    flips = data["flips"]
    names = {flip["name"] for flip in flips}
    assert {
        "volume",
        "burstiness",
        "output length",
        "prompt length",
        "context reuse",
        "time limits of the SLO",
    } <= names
    turning = [abs(flip["change_fraction"]) for flip in flips if flip["change_fraction"] is not None]
    assert turning and turning == sorted(turning)
    assert next(flip for flip in flips if flip["name"] == "context reuse")["why_not"]
    table = data["break_even_map"]
    assert [len(row) for row in table["winners"]] == [len(table["volume_factors"])] * len(table["burst_exponents"])
    text = " ".join(said.out.split())
    for part in parts.values():
        assert part["basis"] in text
    assert "what would change the answer, one input at a time" in text
    assert data["words"].count("prices.gpu.usd_per_gpu_hour.l4=0.5") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["my.csv", "today.date=soon"], "error: today.date=soon: must be a date, such as today.date=2026-11-29"),
        (["my.csv", "applications=chat_and_coding", "horizon_s=60"], "error: applications: would take the place of"),
        (["absent.csv"], "error: absent.csv: cannot be read"),
        (["my.csv", "today.usd_per_month=much"], "error: today.usd_per_month=much: must be a number of US dollars"),
        (["my.csv", "gpu=l4,l40s"], "error: gpu=l4,l40s: must be key=value, with one value"),
        (["my.csv", "gpu=l4", "model=llama_3_1_405b", "prices.api.models={}"], "error: "),
    ],
)
def test_bad_input_is_one_line(play, tmp_path, words, line):
    write_sample_log(str(tmp_path / "my.csv"), 20, 1)
    said = play("decide", *words, "--jobs", "1")
    assert said.code == 2 and said.err.splitlines()[-1].startswith(line), said.err


def a_log_of_days(path, n_days):
    """Office hours of a hundred requests, a few at night."""
    rng, rows = np.random.default_rng(1), []
    for day in range(n_days):
        for hour in range(24):
            moments_s = np.sort(rng.random(60 if 8 <= hour < 18 else 6)) * 3600
            begins = datetime(2025, 1, 6) + timedelta(days=day, hours=hour)
            rows += [f"{begins + timedelta(seconds=float(s)):%Y-%m-%d %H:%M:%S.%f},200,20" for s in moments_s]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")


def test_a_log_of_days_is_drawn_anew_and_may_be_served_by_timetable(tmp_path):
    a_log_of_days(tmp_path / "days.csv", 3)
    asked = question(str(tmp_path / "days.csv"), [*WORDS, f"output.dir={tmp_path}"])
    assert asked.n_days == 3 and "arrivals.bootstrap=days" in asked.base.words.values()
    lab = Lab(asked.base, tmp_path, n_jobs=1)
    families = {family.name: family for family in portfolio(lab, asked.card, asked.load).families}
    first = families["timetable, l4"].ladder[0]
    evidence = Evidence(lab, 0.9, 3)
    evidence.reach({first: 2})
    assert not evidence.repeats(first)
    (period,) = lab.scenario(first).scaling.periods
    assert (period.start, period.end) == ("08:00", "18:00")


@pytest.mark.parametrize(
    "words",
    [
        ("gpu=l4", "engine.tensor_parallel=2", "engine.weight_dtype=fp8", "fleet=warm_floor", "scaling.max_replicas=7"),
        ("gpu=h200_sxm", "prices=lambda_h200_one_year", "fleet=hybrid_overflow", "scaling.n_replicas=3"),
        ("fleet=scale_to_zero", "engine.max_num_seqs=64"),
        ("routing=overflow_on_ttft", "scaling=always_on", "api=open_model_70b_class", "slo.ttft_s=1.5"),
    ],
)
def test_the_lab_composes_what_hydra_would(tmp_path, words):
    base = Composition().changed(["arrivals=replay", "arrivals.path=x.csv", "slo=chat_interactive"], {})
    whole = dict(base.changed(words, {}).config) | {"replications": 1, "seed": 1}
    assert Lab(base, tmp_path, 1).config(words) == whole
