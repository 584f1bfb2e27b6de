"""Other prices for a finished run: the facts stay, the bill changes, nothing is lost."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

import sim.study.replicate
from sim.__main__ import main
from sim.study.folder import read_json
from sim.study.reprice import SHOWN, _print_before_and_after
from sim.study.saved import Row
from tests.unit.cli import HERE, TINY, files_below


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The outputs of one run, played once."""
    folder = tmp_path_factory.mktemp("played")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*TINY, "fleet=hybrid_overflow", "replications=2"]) == 0
    return folder / "outputs"


@pytest.fixture
def run(played, tmp_path, monkeypatch):
    """A copy of the folder of a finished run; simulating again is forbidden from here on."""
    shutil.copytree(played, tmp_path / "outputs")
    monkeypatch.setattr(sim.study.replicate, "simulate", None)
    (folder,) = (tmp_path / "outputs/runs").iterdir()
    return folder


def test_a_doubled_price_doubles_the_rent_and_nothing_else(run, reprice):
    old = read_json(run / "summary.json")
    kept = {name: (run / name).read_bytes() for name in files_below(run)}
    assert reprice(str(run), "prices.gpu.usd_per_gpu_hour.h100_sxm=5.38").code == 0
    (folder,) = (run / "repriced").iterdir()
    new = read_json(folder / "summary.json")
    assert new["usd_gpu"] == pytest.approx(2 * old["usd_gpu"])
    assert new["usd_api"] == old["usd_api"]
    assert new["hindsight_usd"] == pytest.approx(2 * old["hindsight_usd"]) and new["regret_usd"] > old["regret_usd"]
    physics = {key for key in old if not key.startswith(("usd_", "hindsight_", "regret_"))}
    assert {key: new[key] for key in physics} == {key: old[key] for key in physics}
    assert {name: (run / name).read_bytes() for name in kept} == kept


def test_other_terms_of_billing_leave_no_bound_in_hindsight(run, reprice):
    assert reprice(str(run), "prices.gpu.billing_granularity_s=3600").code == 0
    (folder,) = (run / "repriced").iterdir()
    assert read_json(folder / "summary.json")["hindsight_usd"] is None


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_costs_before_and_after_fit_the_screen(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    usd = dict.fromkeys(SHOWN, 1234.5)
    rows = [
        (f"a study gpu=h100_sxm, scaling.n_replicas={n}, hybrid_overflow",
         Row(status="ok", digest="", summary=usd, before=usd)) for n in range(3)
    ]  # fmt: skip
    _print_before_and_after(rows)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= columns and "usd_per_month" in said
    assert all(label in said for label, _ in rows) and ("not shown" in said) == (columns < 140)


def test_the_same_prices_give_the_same_bill(run, reprice):
    said = reprice(str(run), "prices=market_2026")
    assert said.code == 0 and "usd_total" in said.out
    again = run / "repriced/market_2026"
    assert read_json(again / "summary.json") == read_json(run / "summary.json")
    assert (again / "bill.csv").read_text() == (run / "bill.csv").read_text()


def test_the_bill_by_hour_and_by_application(run, reprice):
    assert reprice(str(run), "--by", "hour", "--by", "application").code == 0
    folder = run / "repriced/unchanged"
    whole = pd.read_csv(folder / "bill.csv").groupby("replication")["usd"].sum()
    for by in ("hour", "application"):
        parts = pd.read_csv(folder / f"bill_by_{by}.csv")
        assert by in parts and len(parts)
        assert list(parts.groupby("replication")["usd"].sum()) == pytest.approx(list(whole))
    assert (folder / "bill.csv").read_text() == (run / "bill.csv").read_text()


@pytest.mark.parametrize(
    "listed", ["owned_8xh100", "aws_capacity_block_reserved", "article_003_monthly", "nebius_spot"]
)
def test_other_ways_to_pay_for_the_same_hours(run, reprice, listed):
    said = reprice(str(run), f"prices={listed}")
    assert said.code == 0, said.line
    assert read_json(run / f"repriced/{listed}/summary.json")["usd_gpu"] > 0


def test_a_key_that_is_not_there_is_added_with_a_plus(run, reprice):
    word = "prices.gpu.usd_per_gpu_hour.my_gpu=1"
    assert reprice(str(run), word).code == 2
    said = reprice(str(run), f"+{word}", "+prices.gpu.usd_per_gpu_hour.h100_sxm=5.38")
    assert said.code == 0, said.line
    (folder,) = (run / "repriced").iterdir()
    old, new = read_json(run / "summary.json"), read_json(folder / "summary.json")
    assert new["usd_gpu"] == pytest.approx(2 * old["usd_gpu"]) and "my_gpu: 1" in (folder / "config.yaml").read_text()


def test_a_key_of_the_named_list_is_known(run, reprice):
    said = reprice(str(run), "prices=modal_serverless_2026_05", "prices.gpu.usd_per_gpu_second.h100_sxm=0.001")
    assert said.code == 0, said.line
    said = reprice(str(run), "prices=modal_serverless_2026_05", "prices.gpu.usd_per_gpu_hour.h100_sxm=3")
    assert said.code == 2 and "prices.gpu has usd_per_gpu_second" in said.line


def test_an_overhead_by_name(run, reprice):
    assert reprice(str(run), "prices/overhead=fifteen_percent").code == 0
    new = read_json(run / "repriced/fifteen_percent/summary.json")
    assert new["usd_overhead"] == pytest.approx(0.15 * new["usd_gpu"])


def test_a_price_list_of_ones_own(run, reprice, tmp_path):
    (tmp_path / "mine/prices").mkdir(parents=True)
    (tmp_path / "mine/prices/cheap.yaml").write_text(
        "gpu: {kind: on_demand, provider: me, as_of: today, usd_per_gpu_hour: {h100_sxm: 0.01}}\n"
        "api: {kind: token_tariff, provider: me, as_of: today, usd_per_mtok_input: 0, usd_per_mtok_output: 0}\n"
    )
    assert reprice("--config-dir", "mine", str(run), "prices=cheap").code == 0
    new = read_json(run / "repriced/cheap/summary.json")
    assert new["usd_total"] == pytest.approx(0.01 * new["gpu_hours_paid"])


def test_a_whole_sweep_is_repriced_into_a_table(play, reprice, tmp_path):
    play("-m", *HERE, *TINY, "fleet=always_on,api_only", "output.study=mine")
    said = reprice("outputs/mine", "prices.gpu.usd_per_gpu_hour.h100_sxm=26.9")
    assert said.code == 0 and "->" in said.out
    old = pd.read_csv(tmp_path / "outputs/mine/results.csv")
    (folder,) = (tmp_path / "outputs/mine/repriced").iterdir()
    new = pd.read_csv(folder / "results.csv")
    assert list(new["usd_gpu"]) == pytest.approx(list(10 * old["usd_gpu"]))
    assert list(new["fleet"]) == ["always_on", "api_only"]


def test_what_a_list_cannot_price_is_a_failed_row(play, reprice, tmp_path):
    play("-m", *HERE, *TINY, "gpu=h100_sxm,l40s", "output.study=mine")
    said = reprice("outputs/mine", "prices=aws_2026_03")
    assert said.code == 1 and "no price for 'l40s'" in said.out
    table = pd.read_csv(tmp_path / "outputs/mine/repriced/aws_2026_03/results.csv")
    assert list(table["status"]) == ["ok", "failed"]


def test_a_budget_kept_at_one_price_of_tokens_is_not_read_at_another(play, reprice, tmp_path):
    assert play(*TINY, "fleet=hybrid_overflow", "routing=overflow_within_budget").code == 0
    (folder,) = (tmp_path / "outputs/runs").iterdir()
    said = reprice(str(folder), "+prices.api.batch_multiplier=0.5")
    assert said.code == 2 and "prices.api: routing.budget was kept at the run's own prices" in said.line
    assert reprice(str(folder), "prices.gpu.usd_per_gpu_hour.h100_sxm=5.38").code == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["prices=nope"], "prices=nope: is not one of"),
        (["+prices.gpu.usd=3"], "prices.gpu.usd = 3: is not a known key"),
        (["prices.gpu.usd=3"], "prices.gpu.usd: is not in the price list; prices.gpu has kind, provider, as_of"),
        (["prices.gpu.usd_per_gpu_hour.h100_sxn=2"], "prices.gpu.usd_per_gpu_hour has h100_sxm"),
        (["prices.gpu.usd_per_gpu_hour.mi999=2"], "+prices.gpu.usd_per_gpu_hour.mi999=... would add it"),
        (["prices.gp.x=1"], "prices.gp.x: is not in the price list; prices has gpu"),
        (["+prices.gp.x=1"], "prices.gp"),
        (["prices.gpu.provider.x=1"], "prices.gpu.provider.x: is not in the price list; prices.gpu has provider"),
        (["prices=market_2026", "prices.api.usd_per_mtok_input=1"], "prices.api has"),
        (["~prices.gpu.minimum_s"], "~prices.gpu.minimum_s: only prices can be changed"),
        (["prices=aws_2026_03,market_2026"], "one value at a time"),
        (["prices.gpu.usd_per_gpu_hour.h100_sxm=-3"], "prices.gpu.usd_per_gpu_hour.h100_sxm = -3"),
        (["seed=3"], "only prices can be changed"),
        ([], "say which prices"),
        (["+prices.gpu._target_=os.system"], "_target_"),
    ],
)
def test_bad_prices_are_one_line_and_leave_nothing(words, expected, run, reprice):
    before = files_below(run)
    said = reprice(str(run), *words)
    assert said.code == 2 and expected in said.line
    assert files_below(run) == before


def test_a_folder_that_holds_no_run_is_refused(reprice, tmp_path):
    (tmp_path / "empty").mkdir()
    said = reprice("empty", "prices=aws_2026_03")
    assert said.code == 2 and "is not the folder of a finished run or sweep" in said.line
    assert files_below(tmp_path / "empty") == []
