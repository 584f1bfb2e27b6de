"""The same seed gives the same bytes: in any process, however it is launched, in whatever place and locale."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sim.__main__ import main
from sim.hot_path import is_compiled
from sim.study.folder import BILL, CONFIG, REPLICATIONS, REQUESTS, SPANS, SUMMARY, USAGE

FILES = (SUMMARY, REQUESTS, SPANS, BILL, CONFIG, REPLICATIONS, USAGE)
LOG = """timestamp,input_tokens,output_tokens,session_id,model
2026-03-29 00:59:50,900,40,é,zürich
2026-03-29 01:00:02,1900,60,é,zürich
2026-03-29 01:00:03,300,20,b,alpha
2026-03-29 01:00:04,300,500,c,alpha
"""
WORDS = [
    "-m", "arrivals=replay", "arrivals.path=log.csv", "arrivals.time.zone=Europe/Berlin",
    "arrivals.application_from=model",
    "fleet=hybrid_overflow",
    "routing.queue_per_replica=0", "engine.max_num_seqs=1", "replications=2", "seed=1,2", "output.requests=true",
    "output.spans=true", "output.study=mine", "output.figures=false", "output.page=false",
]  # fmt: skip
JOBLIB, BASIC = "hydra.launcher.n_jobs=2", "hydra/launcher=basic"
OTHER_HOT_PATH = {"SIM_INTERPRETED": "1" if is_compiled() else ""}
WORLDS = {
    "workers": ([JOBLIB], {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Pacific/Auckland"} | OTHER_HOT_PATH),
    "one core": ([BASIC], {"PYTHONHASHSEED": "2", "LC_ALL": "de_DE.UTF-8", "TZ": "America/St_Johns",
                           "OMP_NUM_THREADS": "1", "PYTHONUTF8": "0"}),
}  # fmt: skip

COMMA = """comment_char %
escape_char /
LC_NUMERIC
decimal_point ","
thousands_sep "."
grouping 3;3
END LC_NUMERIC
"""
"""Numbers as in Germany, for machines without a locale of the kind."""
FRACTIONS = """timestamp,input_tokens,output_tokens
0.125,900,40
0.5,1900,60
1.75,300,500
"""


def written(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.glob("outputs/mine/**/*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.name in FILES}


def on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("log.csv").write_text(LOG, encoding="utf-8")
    assert main([*WORDS, BASIC]) == 0
    here = written(Path())
    assert len(here) == 2 * len(FILES)
    for name, (words, environment) in WORLDS.items():
        world = tmp_path / name
        world.mkdir()
        (world / "log.csv").write_text(LOG, encoding="utf-8")
        everything = os.environ | environment | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        ran = subprocess.run(
            [sys.executable, "-m", "sim", *WORDS, *words], cwd=world, env=everything, capture_output=True, text=True,
            preexec_fn=on_one_core if name == "one core" else None,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        there = written(world)
        assert there.keys() == here.keys(), name
        assert [file for file in here if here[file] != there[file]] == [], name


@pytest.fixture
def decimal_commas(tmp_path, monkeypatch):
    """Call it, and C libraries read and write 1.5 as 1,5 from there on."""
    if shutil.which("localedef") is None:
        pytest.skip("NOT CHECKED: a locale with decimal commas cannot be made here: there is no localedef")
    (tmp_path / "comma.src").write_text(COMMA)
    make = ["localedef", "-c", "-i", "comma.src", "-f", "ANSI_X3.4-1968", str(tmp_path / "comma")]
    subprocess.run(make, cwd=tmp_path, capture_output=True)  # exits 1 for what the locale leaves out
    monkeypatch.setenv("LOCPATH", str(tmp_path))
    before = locale.setlocale(locale.LC_NUMERIC)
    yield lambda: locale.setlocale(locale.LC_NUMERIC, "comma")
    locale.setlocale(locale.LC_NUMERIC, before)


def test_a_program_around_it_that_counts_with_commas_changes_no_byte(tmp_path, monkeypatch, decimal_commas):
    """A notebook or an application may have set its locale."""
    words = [
        "arrivals=replay", "arrivals.path=log.csv", "fleet=hybrid_overflow", "output.requests=true",
        "output.spans=true", "replications=2", "output.dir=outputs/mine", "output.figures=false",
    ]  # fmt: skip
    found = []
    for name in ("points", "commas"):
        if name == "commas":
            decimal_commas()
            assert f"{1.5:n}" == "1,5"
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text(FRACTIONS)
        monkeypatch.chdir(tmp_path / name)
        assert main(words) == 0
        found.append(written(Path()))
    assert len(found[0]) == len(FILES) and found[0] == found[1]
