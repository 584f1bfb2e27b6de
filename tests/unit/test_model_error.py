"""An answer says what its card rests on, and how far off the nearest servers that were measured have been."""

from __future__ import annotations

import json

import pytest

import sim
from sim.hardware.engine import Engine
from sim.hardware.gpu import gpu_named
from sim.hardware.model import model_named
from sim.measured import model_error as module
from sim.measured.model_error import MeasuredFamily, families, model_error
from sim.scenarios import compose_config, parse
from sim.study.hardware_error import hardware_error

DENSE, MOE = model_named("llama_3_1_8b"), model_named("mixtral_8x7b")


def family(gpu: str, kind: str = "dense", error: float = 0.1, **changes) -> MeasuredFamily:
    plain = MeasuredFamily(gpu, "vllm 1", "some_model", kind, False, 3, error, 2 * error, 3 * error)
    return plain._replace(**changes)


@pytest.fixture
def measured(monkeypatch):
    """Sets the families that were measured."""

    def set_to(*found: MeasuredFamily) -> None:
        monkeypatch.setattr(module, "families", lambda: found)

    return set_to


def throughput_error(gpu: str, model=DENSE) -> float:
    return model_error(gpu_named(gpu), model, Engine()).errors["throughput"][0]


def test_the_table_that_fidelity_wrote_has_errors_of_every_fitted_card():
    assert {f.gpu for f in families()} >= {"h100_sxm", "a100_80gb_sxm", "l40s", "rtx_4090", "rtx_pro_6000"}
    for row in families():
        for error in (row.throughput, row.ttft, row.itl):
            assert error is None or 0 <= error < 2, row


def test_the_same_card_is_nearer_than_its_generation_and_that_nearer_than_any_other(measured):
    measured(family("b200", error=0.3), family("h100_sxm", error=0.2), family("h200_sxm", error=0.1))
    assert [throughput_error(gpu) for gpu in ("h200_sxm", "h100_sxm", "gb200")] == [0.1, 0.2, 0.3]


def test_a_mixture_of_experts_is_compared_with_another(measured):
    measured(family("h100_sxm", error=0.05, model="mixtral_8x7b"), family("h100_sxm", "moe", error=0.15))
    assert (throughput_error("h100_sxm"), throughput_error("h100_sxm", MOE)) == (0.05, 0.15)


def test_runs_that_set_no_constant_come_first(measured):
    measured(family("h100_sxm", error=0.01, tuned_on=True), family("h100_sxm", error=0.05))
    assert throughput_error("h100_sxm") == 0.05


def test_a_figure_that_was_not_measured_there_is_taken_from_elsewhere_and_that_is_said(measured):
    measured(family("l40s", error=0.05, throughput=None), family("rtx_4090", error=0.2))
    found = model_error(gpu_named("l40s"), DENSE, Engine())
    assert found.errors["throughput"][0] == 0.2 and found.errors["itl"][0] == pytest.approx(0.15)
    assert ": at least throughput 20.0%" in found.lines()[1] and "rtx_4090" in found.lines()[1]


def test_a_borrowed_card_gets_the_largest_error_of_those_that_set_nothing(measured):
    measured(family("l40s", error=0.01), family("h100_sxm", error=0.3), family("b200", error=0.9, tuned_on=True))
    assert throughput_error("l4") == 0.3


def test_a_scenario_is_as_well_known_as_its_least_known_card():
    words = ["pools=spot_a100", "scaling@pools.spot.scaling=always_on", "prices=reserved_and_spot"]
    found = hardware_error(parse(compose_config(*words)))
    assert found is not None and found.is_borrowed and found.gpu == "a100_80gb_pcie"
    assert hardware_error(parse(compose_config("fleet=api_only"))) is None
    assert hardware_error(parse(compose_config("+engine.step_time={kind:affine,base_s:0.01}"))) is None


def test_a_borrowed_card_is_named_in_the_first_line_and_the_error_is_written_down(play, tmp_path):
    said = play("gpu=l4", "horizon_s=20", f"output.dir={tmp_path}")
    assert said.code == 0 and said.out.startswith("l4: constants BORROWED from relatives")
    assert "model error" in said.out
    (summary,) = tmp_path.glob("runs/*/summary.json")
    error = json.loads(summary.read_text())["model_error"]
    assert error["basis"] == "borrowed" and error["ttft"] > 0 and set(error["measured_on"]) >= {"ttft", "itl"}


def test_a_result_has_the_error_in_python_and_when_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = sim.scenario("lengths=fixed", "gpu=a100_80gb_sxm", horizon_s=60, **{"arrivals.rate_per_s": 0.5})
    table = sim.sweep(base, gpu=["a100_80gb_sxm"], study="one", n_jobs=1)
    played, loaded = sim.replicate(base), sim.load(table.folder / table.frame["folder"][0])
    assert played.model_error["ttft"] > 0 and played.model_error["gpu"] == "a100_80gb_sxm"
    assert loaded.model_error == played.model_error and loaded.hardware == played.hardware
    assert "model error" in played._repr_html_()
    assert sim.replicate(base.replace("fleet=api_only", "model=llama_3_3_70b")).model_error is None
