"""A folder of results, damaged anyhow, is collected, priced anew and loaded, or refused with one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import sim
from sim.__main__ import main
from tests.fuzz.mutations import changed, changed_bytes, changed_text, examples
from tests.unit.cli import TINY


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    base = sim.scenario(*TINY, "replications=2")
    return sim.sweep(base, fleet=["always_on", "api_only"], outputs=folder, study="mine", n_jobs=1).folder


def damage(path: Path, rng) -> None:
    chance, content = rng.random(), path.read_bytes()
    if chance < 0.1:
        path.write_bytes(changed_bytes(content, rng))
    elif chance < 0.2:
        path.unlink()
        rng.choice((lambda: path.symlink_to("/etc/passwd"), path.mkdir, lambda: path.write_text("[" * 100_000)))()
    elif path.suffix == ".csv":
        path.write_text(changed_text(content.decode(), rng), "utf-8", "surrogatepass")
    else:
        value = json.loads(content) if path.suffix == ".json" else yaml.safe_load(content)
        for _ in range(rng.choice((1, 1, 3))):
            value = changed(value, rng)
        text = json.dumps(value) if path.suffix == ".json" else yaml.safe_dump(value, allow_unicode=False)
        path.write_text(text, "utf-8", "surrogatepass")


def shown(folder: Path) -> None:
    loaded = sim.load(folder)
    assert repr(loaded) and loaded._repr_html_()
    if isinstance(loaded, sim.Result):
        assert len(loaded.table) and len(loaded.bill) and len(loaded.replications)
    else:
        loaded.verdicts, loaded.replications, loaded.reprice("market_2026")


@given(st.randoms(use_true_random=False))
@examples(8)
def test_a_damaged_folder_is_read_or_refused(study, tmp_path, capsys, rng):
    mine = tmp_path / "mine"
    shutil.rmtree(mine, ignore_errors=True)
    shutil.copytree(study, mine, ignore=shutil.ignore_patterns("results.*", "repriced"))
    files = sorted(path for path in mine.rglob("*") if path.suffix in (".json", ".yaml", ".csv"))
    for path in rng.sample(files, rng.choice((1, 1, 2))):
        damage(path, rng)
    folders = [mine, *sorted(path for path in mine.iterdir() if path.is_dir() and len(path.name) == 12)]
    action = rng.choice(("collect", "reprice", "load"))
    if action == "load":
        try:
            shown(rng.choice(folders))
        except sim.SimError as refused:
            assert str(refused)
        return
    code, streams = (
        main([action, str(mine), *(["prices=market_2026"] if action == "reprice" else [])]),
        capsys.readouterr(),
    )
    assert code in (0, 1, 2) and "\x1b" not in streams.out + streams.err
    assert code != 2 or len(streams.err.splitlines()) == 1
