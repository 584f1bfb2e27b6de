"""The Python face: what it gives, what it refuses, and that it shares its folders with the command line."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from pkgutil import walk_packages
from typing import Literal

import pandas as pd
import pytest

import sim
from sim.composer import Composer
from sim.policy import Policy
from sim.routing.placement.by_load import LeastLoaded
from sim.schema import Choice, kinds_of
from sim.study.policy_code import Undescribable, class_digest
from tests.unit.cli import HERE, TINY

ROOT = Path(__file__).resolve().parents[2]


class Busiest(sim.Placement):
    """The replica with most requests: a policy of a test."""

    kind: Literal["busiest_of_a_test"] = "busiest_of_a_test"
    bias: float = 1.0

    def choose(self, request, replicas):
        return max(replicas, key=lambda replica: replica.n_outstanding)


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return sim.scenario(*TINY)


def test_every_public_name_is_there_documented_and_the_same_for_type_checkers():
    checked = re.findall(r"^    from sim[\w.]* import (.*)$", (ROOT / "sim/__init__.py").read_text(), re.MULTILINE)
    assert sorted(name for line in checked for name in line.split(", ")) == sim.__all__
    assert all(getattr(sim, name).__doc__ for name in sim.__all__)
    assert set(sim.__all__) <= set(dir(sim))


def modules_with_examples() -> list[str]:
    """Those with examples in docstrings, but for those of public classes, which the test below plays."""
    files = [path for path in (ROOT / "sim").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    return sorted(names - {getattr(sim, name).__module__ for name in sim.__all__} | {"sim", "sim.composition"})


@pytest.mark.parametrize("module", modules_with_examples())
def test_the_examples_of_the_docstrings_work(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    imported = importlib.import_module(module)
    tried = doctest.testmod(imported, optionflags=doctest.ELLIPSIS)
    if not tried.attempted and imported.__file__.endswith(".so"):
        pytest.skip("NOT CHECKED here: a compiled module shows doctest no examples; interpreted, they are run")
    assert tried.attempted and not tried.failed


@pytest.mark.slow
def test_every_public_name_has_an_example_that_works(tmp_path):
    words = [sys.executable, "-m", "tests.face_examples"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def bases() -> set[type[Choice]]:
    """The classes of the program that a configuration chooses kinds of, whether they hold a field or not."""
    for module in walk_packages(sim.__path__, "sim."):
        if not module.name.endswith(("__main__", ".build")):
            importlib.import_module(module.name)
    direct = [base for root in (Choice, Policy) for base in root.__subclasses__() if base is not Policy]
    return {base for base in direct if base.__module__.startswith("sim.") and kinds_of(base)}


def test_every_base_of_kinds_is_public():
    public = {getattr(sim, name) for name in sim.__all__}
    assert len(bases()) > 10 and not bases() - public


def test_importing_it_loads_no_simulator():
    code = "import sim, sys; print([m for m in ('pandas', 'scipy', 'pydantic', 'simpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_scenario_by_words_by_keys_and_changed(base):
    keyed = sim.scenario("lengths=fixed", horizon_s=600, drain_s=600,
                         **{"arrivals.rate_per_s": 0.1, "engine.max_num_seqs": 4, "output.figures": False})  # fmt: skip
    assert keyed.model_dump() == base.model_dump()
    changed = base.replace("gpu=l4", seed=7, arrivals="bursty")
    assert (changed.gpu.name, changed.seed, changed.arrivals.kind, changed.arrivals.rate_per_s) == (
        "l4",
        7,
        "bursty",
        0.1,
    )
    assert (base.gpu.name, base.seed) == ("h100_sxm", 1)  # as before
    assert len(repr(base)) < 150 and "llama_3_1_8b on h100_sxm" in repr(base)


REFUSALS = {
    "a mistyped key": (lambda base: base.replace(horizon=5), "horizon: is not a known key; did you mean horizon_s?"),
    "a mistyped dotted key": (lambda base: base.replace("slo.ttft=5"), "did you mean slo.ttft_s?"),
    "a wrong value": (lambda base: base.replace(seed=-1), "seed = -1: should be greater than or equal to 0"),
    "an unknown choice": (lambda base: base.replace(gpu="h1000"), "gpu=h1000: is not one of a100"),
    "several values": (lambda base: base.replace("seed=1,2"), "sim.sweep(base, seed=[...])"),
    "a value of no kind": (lambda base: base.replace(seed=object()), "which no configuration can hold"),
    "code": (lambda base: base.replace("+x._target_=os.system"), "names code"),
    "a key of an object": (
        lambda base: base.replace(placement=Busiest()).replace("placement.bias=2"), "placement is an object of",
    ),
    "an object of the wrong kind": (lambda base: base.replace(routing=Busiest()), "routing"),
    "parsed, not composed": (lambda base: sim.parse(sim.compose_config()).replace(seed=2), "only one made by sim.scen"),
    "a shard that is none": (lambda base: sim.sweep(base, seed=[1], shard="4/3"), "shard=1/4"),
    "a launcher that is none": (lambda base: sim.sweep(base, seed=[1], launcher=["hydra/launcher=xyz"]), "xyz"),
    "an empty axis": (lambda base: sim.sweep(base, gpu=[]), "gpu: has no values"),
    "no valid scenario": (lambda base: sim.sweep(base, seed=[-1, -2]), "seed = -1"),
    "no replication": (lambda base: sim.replicate(base, replications=0), "replications = 0"),
    "requests that were not kept": (lambda base: sim.replicate(base).requests, "keep_runs=True"),
    "no folder": (lambda base: sim.load("nowhere"), "nowhere: is not a folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_one_error_with_the_words_to_type(name, base, tmp_path):
    refused, words = REFUSALS[name]
    with pytest.raises(sim.ConfigError, match=re.escape(words)):
        refused(base)
    assert not list(tmp_path.iterdir())


def test_one_run_has_its_tables(base):
    run = sim.simulate(base)
    assert len(run.requests) == run.summary["requests"] and set(run.spans["replica_id"]) == {0}
    assert run.bill["usd"].sum() == pytest.approx(run.summary["usd_total"])
    assert "usd_total" in repr(run) and len(repr(run)) < 300 and "<table" in run._repr_html_()


def test_a_result_has_means_and_half_widths(base):
    result = sim.replicate(base, replications=3, keep_runs=True)
    values = [summary["e2e_mean_s"] for summary in result.per_replication]
    assert result["e2e_mean_s"].half_width > 0 and min(values) < result["e2e_mean_s"].mean < max(values)
    assert result.table.loc["e2e_mean_s", "half_width"] == result["e2e_mean_s"].half_width
    assert set(result.requests["replication"]) == {0, 1, 2} and len(result.replications) == 3
    assert len(repr(result)) < 300 and "±" in repr(result) and "<table" in result._repr_html_()
    with pytest.raises(KeyError, match="did you mean ttft_p99_s"):
        result["ttft_p99"]


def test_a_policy_of_ones_own_plays_and_its_sweep_is_kept(base):
    table = sim.sweep(base, placement=["least_loaded", Busiest(), Busiest(bias=2)], **{"scaling.n_replicas": [2]})
    assert list(table.frame["placement"]) == ["least_loaded", "busiest_of_a_test", "busiest_of_a_test{bias:2.0}"]
    assert (table.frame["status"] == "ok").all()
    stamps = {path: path.stat().st_mtime_ns for path in table.folder.glob("*/row.json")}
    again = sim.sweep(base, placement=["least_loaded", Busiest(), Busiest(bias=2)], **{"scaling.n_replicas": [2]})
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()) and len(again) == 3


SCRIPT = """
from typing import Literal
import sim

class Mine(sim.Placement):
    kind: Literal["mine_of_a_script"] = "mine_of_a_script"
    def choose(self, request, replicas):
        return replicas[0]

if __name__ == "__main__":
    base = sim.scenario("lengths=fixed", horizon_s=300, **{"arrivals.rate_per_s": 0.1})
    table = sim.sweep(base, placement=[Mine(), "random"], n_jobs=2)
    print(list(table.frame["status"]), list(table.frame["placement"]))
"""


@pytest.mark.slow
def test_a_class_of_a_script_goes_to_other_processes(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "['ok', 'ok'] ['mine_of_a_script', 'random']" in done.stdout, done.stderr
    assert "played in this process" not in done.stderr


@pytest.mark.slow
def test_a_class_that_cannot_be_sent_to_another_process_is_played_in_this_one(base, capsys):
    lock = threading.Lock()

    class Locked(sim.Placement):
        kind: Literal["locked_of_a_test"] = "locked_of_a_test"

        def choose(self, request, replicas):
            with lock:
                return replicas[0]

    table = sim.sweep(base, placement=[Locked(), "random"], n_jobs=2)
    assert list(table.frame["status"]) == ["ok", "ok"]
    assert "note: played in this process, as an object cannot be sent to another: " in capsys.readouterr().err


def test_the_command_line_and_python_share_their_rows(play, base):
    assert play("-m", *HERE, *TINY, "gpu=l4,l40s").code == 0
    rows = {path: path.stat().st_mtime_ns for path in Path("outputs/by_gpu").glob("*/row.json")}
    table = sim.sweep(base, gpu=["l4", "l40s"], n_jobs=1)
    assert {path: path.stat().st_mtime_ns for path in table.folder.glob("*/row.json")} == rows
    said = play("-m", *HERE, *TINY, "gpu=l4,l40s")
    assert "2 of 2 scenarios are already done" in said.err
    assert list(table.verdicts) and all(line in " ".join(said.out.split()) for line in table.verdicts)


def test_parts_of_a_sweep_on_several_machines_are_one_table(base):
    """Each in the words of the command line, and with its names of folders."""
    axes, here = {"seed": [1, 2], "gpu": ["l4", "l40s"]}, ["hydra/launcher=basic"]
    whole = sim.sweep(base, outputs="whole", n_jobs=1, **axes)
    parts = [sim.sweep(base, shard=shard, launcher=here, **axes) for shard in ("1/3", "2/3", "3/3")]
    assert [len(part) for part in parts] == [2, 1, 1]
    together = sim.load(parts[0].folder)
    assert list(together.frame["digest"]) == list(whole.frame["digest"])
    assert list(together.frame["usd_total"]) == list(whole.frame["usd_total"])


@pytest.mark.parametrize("asked, law", [({"n_jobs": 0}, "n_jobs = 0"), ({"shard": 1}, "shard=1: must be")])
def test_what_no_sweep_can_do_is_refused_in_one_line(base, asked, law):
    with pytest.raises(sim.SimError, match=law):
        sim.sweep(base, seed=[1, 2], **asked)


def test_a_part_composes_what_falls_to_it(base, monkeypatch):
    """Sixty-four machines that begin at once would else each compose the whole grid."""
    composed, plain = [], Composer.plain
    monkeypatch.setattr(
        Composer, "plain", lambda self, words, *more: composed.append(words) or plain(self, words, *more)
    )
    axes = {"seed": [1, 2, 3], "gpu": ["l4", "l40s"], "placement": [LeastLoaded()]}
    for shard, n_own in (("1/4", 2), ("2/4", 2), ("4/4", 1)):
        composed.clear()
        assert len(sim.sweep(base, shard=shard, n_jobs=1, **axes)) == len(composed) == n_own
    assert "1 of 6 scenarios are missing" in repr(sim.load("outputs/by_gpu_and_seed"))
    with pytest.raises(sim.SimError, match="is of another sweep"):
        sim.sweep(base, shard="3/4", n_jobs=1, study="by_gpu_and_seed", **axes | {"seed": [1, 2, 4]})
        sim.load("outputs/by_gpu_and_seed")


def test_a_sweep_says_who_wins_what_failed_and_what_other_prices_would_change(base):
    table = sim.sweep(base, gpu=["l4", "l40s"], **{"slo.ttft_s": [1.5, -1]})
    assert len(table) == 4 and list(table.failed["error"]) == ["slo.ttft_s = -1: should be greater than 0"] * 2
    assert table.frame["slo.ttft_s"].dtype == float and table.frame["horizon_s"].dtype.kind == "i"
    assert len(table.replications) == 2
    halved = table.reprice(**{"prices.gpu.usd_per_gpu_hour.l4": 0.1})
    assert halved.frame["usd_total"][0] < table.frame["usd_total"][0]
    assert repr(table).startswith("<Table of 4 scenarios, 2 failed, in outputs/") and "<table" in table._repr_html_()
    assert "\nmodel: llama_3_1_8b\n" in repr(table) and "<li>model: llama_3_1_8b</li>" in table._repr_html_()
    loaded = sim.load(table.folder)
    pd.testing.assert_frame_equal(loaded.frame, table.frame)
    one = sim.load(table.folder / table.frame["folder"][0])
    assert one["usd_total"].mean == table.frame["usd_total"][0] and "<li>SLO: TTFT ≤ 1.5 s" in one._repr_html_()
    assert one.setting == sim.replicate(sim.scenario(*TINY, gpu="l4", **{"slo.ttft_s": 1.5})).setting
    types = pd.read_parquet(table.folder / "results.parquet").dtypes.astype(str)
    assert {types[key] for key in types.index if key == "slo.ttft_s" or key.endswith("_ci95")} == {"float64"}


def test_many_seeds_are_told_what_replications_are_for(base, capsys):
    sim.sweep(base, seed=range(1, 4), n_jobs=1)
    assert "replications=3 instead gives one verdict" in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_brings_its_own_axes(base):
    small = sim.scenario("+experiment=shapes_by_fleets", horizon_s=3600, replications=1, **{"arrivals.exact_tasks": 5})
    table = sim.sweep(small, study="small", fleet=["api_only"], n_jobs=1)
    assert list(table.frame["arrivals"]) == ["steady", "bursty", "diurnal"] and table.folder == Path("outputs/small")
    fixed = sim.sweep(small.replace("fleet=api_only", "arrivals=bursty"), study="fixed", n_jobs=1)
    assert list(fixed.frame["arrivals"]) == ["bursty"] and list(fixed.frame["fleet"]) == ["api_only"]


def policy(factor):
    class Scaled(sim.Placement):
        kind: Literal["scaled_of_a_test"] = "scaled_of_a_test"

        def choose(self, request, replicas):
            return replicas[factor % len(replicas)]

    return Scaled


def test_what_a_class_refers_to_is_part_of_what_it_is():
    assert class_digest(policy(1)) == class_digest(policy(1)) != class_digest(policy(2))
    with pytest.raises(Undescribable):
        class_digest(policy(time.struct_time(range(9)).__reduce__()[1] and object()))
