"""A folder of results is whole or not there; what is damaged is played again; nothing in it leads elsewhere."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from sim.__main__ import main
from sim.composer import composed
from sim.hydra_door import plain
from sim.schema import ConfigError
from sim.study import claims, job
from sim.study import folder as folders
from sim.study.claims import claim
from sim.study.collect import collect as collected
from sim.study.grid import play_grid
from sim.study.grid_in_python import load
from sim.study.planned import plan
from sim.study.saved import read_config, read_figures, readable
from tests.unit.cli import HERE, TINY, files_below

SWEEP = ["-m", *HERE, *TINY, "output.study=mine", "seed=1,2"]


@pytest.mark.parametrize("file", ["config.yaml", "requests.parquet", "row.json"])
def test_a_full_disk_is_one_line_and_leaves_nothing(file, play, tmp_path, monkeypatch):
    replace = folders.os.replace

    def full(partial, path):
        if Path(path).name == file:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(partial, path)

    monkeypatch.setattr(folders.os, "replace", full)
    said = play(*TINY)
    assert said.code == 2 and said.line.endswith(f"{file}: cannot be written: No space left on device")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("room_bytes", [100, 3_000, 12_000])
def test_a_write_that_fails_in_the_middle_leaves_nothing_and_the_same_command_goes_on(room_bytes, play, tmp_path):
    """The kernel refuses the byte after `room_bytes` of any file, as a full disk does after some of them."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        said = play(*TINY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert said.code == 2 and "cannot be written: " in said.line and said.line.endswith("File too large")
    assert files_below(tmp_path) == []
    assert play(*TINY).code == 0


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(("damage", "file"), [(cut, "usage.json"), (cut, "row.json"), (Path.unlink, "bill.csv")])
def test_a_damaged_scenario_is_played_again_and_the_others_are_kept(damage, file, play):
    sweep = [*SWEEP, "output.spans=true"] if file != "row.json" else SWEEP
    play(*sweep)
    first, second = sorted(Path("outputs/mine").glob("*/row.json"))
    whole = first.read_bytes()
    damage(first.parent / file)
    said = play(*sweep)
    assert said.code == 0 and "1 of 2 scenarios are already done" in said.err
    assert first.read_bytes() == whole and folders.is_finished(first.parent)


def test_a_scenario_in_one_file_is_read_as_one_in_many_and_takes_less_room(play, reprice):
    """Figures, bills, configuration and the price of tomorrow: the same, whether the row holds them or files beside."""
    play(*SWEEP, "replications=2")
    play(*SWEEP[:-2], "output.study=many", "output.spans=true", "replications=2", "seed=1,2")
    found = []
    for study in map(Path, ("outputs/mine", "outputs/many")):
        run = next(row.parent for row in study.glob("*/row.json") if (read_config(row.parent) or {})["seed"] == 1)
        assert reprice(str(run), "prices.gpu.usd_per_gpu_hour.h100_sxm=5").code == 0
        one, dearer = load(run), read_figures(next(run.glob("repriced/*")))
        config = {key: value for key, value in (read_config(run) or {}).items() if key != "output"}
        usages = [usage.to_json() for usage in one.usages]
        found.append((one.summary, one.per_replication, one.bill.to_dict(), usages, one.model_error, config, dearer))
        shutil.rmtree(run / "repriced")
        files = [path.name for path in run.iterdir()]
        assert (files == ["row.json"]) == (study.name == "mine")
    assert found[0] == found[1]
    mine, many = (list(collected(Path("outputs") / study)) for study in ("mine", "many"))
    assert mine[mine.index("digest") :] == many[many.index("digest") :]


def test_a_scenario_takes_less_than_20_kb_on_disk(play):
    """Ten thousand of them 200 MB. Each further replication takes less than 2 kB: its figures, usage and bill."""
    for replications in (1, 2):
        play(*SWEEP, f"replications={replications}", "seed=1")
    one, two = sorted(Path("outputs/mine").glob("*/row.json"), key=lambda row: row.stat().st_size)
    assert sum(512 * path.stat().st_blocks for path in (one, one.parent)) < 20_000
    assert two.stat().st_size - one.stat().st_size < 2_500, "with the intervals that one replication has not"


def test_a_row_or_a_list_that_leads_elsewhere_is_refused(play, collect):
    play(*SWEEP)
    row = next(Path("outputs/mine").glob("*/row.json"))
    content = json.loads(row.read_text())
    row.write_text(json.dumps(content | {"digest": "../../secret"}))
    said = collect("outputs/mine")
    assert said.code == 2 and "is the row of another folder" in said.line
    row.write_text(json.dumps(content))
    Path("outputs/mine/study.json").write_text(json.dumps({"digests": ["../../secret"]}))
    said = collect("outputs/mine")
    assert said.code == 2 and "is not the digest of a scenario" in said.line


def test_no_link_in_a_folder_of_results_is_followed(play, collect, reprice, tmp_path):
    play(*SWEEP)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    repriced = Path("outputs/mine/repriced")
    repriced.symlink_to(elsewhere)
    refused = reprice("outputs/mine", "prices=market_2026")
    assert refused.code == 2 and "repriced: is a link" in refused.line and files_below(elsewhere) == []
    repriced.unlink()
    scenario = next(Path("outputs/mine").glob("*/row.json")).parent
    shutil.move(scenario, elsewhere / scenario.name)
    scenario.symlink_to(elsewhere / scenario.name)
    refused = collect("outputs/mine")
    assert refused.code == 2 and f"{scenario.name}: is a link" in refused.line


def test_what_was_there_before_a_block_that_failed_stays_and_what_it_made_goes(tmp_path):
    (tmp_path / "mine").mkdir()
    for folder, stays in ((tmp_path / "mine", True), (tmp_path / "new" / "inside", False)):
        with pytest.raises(KeyboardInterrupt), folders.all_or_nothing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "bill.csv").write_text("half of it")
            raise KeyboardInterrupt
        assert folder.is_dir() == stays
    assert not list((tmp_path / "mine").iterdir()) and not (tmp_path / "new").exists()


@pytest.mark.parametrize("make", ["link", "folder", "nothing"])
def test_a_page_reads_no_bill_but_a_file_of_its_own_folder(tmp_path, make):
    secret, bill = tmp_path / "secret.csv", tmp_path / "bill.csv"
    secret.write_text("item,usd\n")
    if make == "link":
        bill.symlink_to(secret)
    elif make == "folder":
        bill.mkdir()
    with pytest.raises(ConfigError, match="bill.csv: is not a file"):
        readable("the bill", bill, lambda path: pytest.fail(f"{path} was read"))


def test_a_row_of_another_form_is_named(play, collect):
    play(*SWEEP)
    row = next(Path("outputs/mine").glob("*/row.json"))
    content = json.loads(row.read_text())
    row.write_text(json.dumps(content | {"summary": {"usd_total": ["x"]}}))
    refused = collect("outputs/mine")
    assert refused.code == 2 and "row.json: summary: usd_total = \"['x']\": must be a number" in refused.line
    config = content["within"]["config.yaml"]
    row.write_text(json.dumps(content | {"question": None, "within": content["within"] | {"config.yaml": [config]}}))
    refused = collect("outputs/mine")
    assert refused.code == 2 and "row.json: is not the configuration of a finished run" in refused.line


def test_a_configuration_that_unfolds_to_millions_of_values_is_refused(play, collect):
    play(*SWEEP, "output.spans=true")
    row = next(Path("outputs/mine").glob("*/row.json"))
    content = json.loads(row.read_text())
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnop"))
    # A row of an earlier version does not say which question it answers; its configuration does.
    row.write_text(json.dumps({key: value for key, value in content.items() if key != "question"}))
    (row.parent / "config.yaml").write_text(bomb)
    refused = collect("outputs/mine")
    assert refused.code == 2 and "config.yaml: is not the configuration of a finished run" in refused.line


def test_a_spreadsheet_finds_no_formula(tmp_path):
    from sim.study.collect import write_table

    cells = ["=cmd|' /C calc'!A0", "@SUM(A1)", "+x", "-1", "+.5", "plain"]
    write_table(pd.DataFrame({"=key": cells, "status": "ok", "digest": list("abcdef"), "usd_total": -1.0}), tmp_path)
    read = pd.read_csv(tmp_path / "results.csv", dtype=str)
    assert list(read["'=key"]) == ["'" + cells[0], "'@SUM(A1)", "'+x", "-1", "+.5", "plain"]
    assert set(read["usd_total"]) == {"-1.0"}


def test_what_was_removed_while_it_was_written_is_no_finished_scenario(play, monkeypatch):
    write, gone = folders.write_json, []

    def removed_once(path, value, **form):
        write(path, value, **form)
        if path.name == "summary.json" and not gone:
            gone.append(path.parent)
            shutil.rmtree(path.parent)
            write(path, value)

    for module in ("sim.study.results", "sim.study.job"):
        monkeypatch.setattr(f"{module}.write_json", removed_once)
    said = play(*TINY)
    assert said.code == 2 and "usage.json was removed while the results were written" in said.line
    assert not list(Path("outputs").rglob("*.json"))


def test_the_time_of_a_file_does_not_matter(play):
    play(*SWEEP)
    for moment_s, path in enumerate(Path("outputs/mine").rglob("*")):
        os.utime(path, (moment_s, 4e9 if moment_s % 2 else 0))
    said = play(*SWEEP)
    assert said.code == 0 and "2 of 2 scenarios are already done" in said.err


def test_a_scenario_has_one_claim_and_a_killed_process_none(tmp_path):
    scenario = tmp_path / "study" / "0123456789ab"
    with claim(scenario) as first, claim(scenario, wait=False) as second:
        assert (first, second) == (True, False)
    assert files_below(tmp_path) == []
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # holds the claim until it is killed
        with claim(scenario):
            os.write(writer, b"held")
            time.sleep(60)
    assert os.read(reader, 4) == b"held"
    with claim(scenario, wait=False) as held:
        assert not held
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with claim(scenario, wait=False) as held:
        assert held


def test_where_no_claim_can_be_made(tmp_path, monkeypatch):
    scenario = tmp_path / "0123456789ab"
    (tmp_path / ".0123456789ab.claim").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="claim: cannot be written"), claim(scenario):
        pass
    assert files_below(tmp_path) == [".0123456789ab.claim"]

    def unsupported(lock, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "flock", unsupported)
    with claim(tmp_path / "another") as held:
        assert held, "a file system without locks is no reason to play nothing"
    assert files_below(tmp_path) == [".0123456789ab.claim"]


def test_two_sweeps_in_one_folder_play_each_scenario_once(tmp_path, monkeypatch):
    planned = [_planned(tmp_path, seed) for seed in (1, 2)]
    played, play_really = [], job.replicate

    def counted(scenario, **options):
        played.append(scenario.seed)
        return play_really(scenario, **options)

    monkeypatch.setattr(job, "replicate", counted)

    def sweep():
        def launch(pending, folder):
            for p in pending:
                job.run_in_sweep(dict(p.config) | {"output": p.output | {"folder": p.digest}}, p.overrides)

        play_grid(planned, launch)

    both = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(played) == [1, 2]
    assert all(folders.is_finished(tmp_path / "mine" / p.digest) for p in planned)
    assert not list(tmp_path.rglob(".*"))


def _planned(folder: Path, seed: int):
    words = [*TINY, f"output.dir={folder}", "output.study=mine", f"seed={seed}"]
    return plan({"seed": str(seed)}, plain(composed(words)))


def children(pid: int) -> list[int]:
    """The worker processes of a process, from /proc."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_working(pid: int) -> bool:
    """Whether a process is there and not merely waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(), reason="needs Linux's /proc")
def test_workers_end_with_their_parent(tmp_path):
    words = ["-m", "lengths=fixed", "horizon_s=30000000,30000001", "hydra.launcher.n_jobs=2", "output.study=mine"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    parent = subprocess.Popen([sys.executable, "-m", "sim", *words], cwd=tmp_path, env=environment)
    try:
        deadline_s = time.monotonic() + 120
        while len(list(tmp_path.glob("outputs/mine/*.claim"))) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.2)
        workers = children(parent.pid)
        assert len(workers) >= 2 and all(map(is_working, workers))
    finally:
        parent.kill()
        parent.wait()
    deadline_s = time.monotonic() + 20
    while any(map(is_working, workers)) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert not any(map(is_working, workers))
    assert not list(tmp_path.glob("outputs/mine/*/row.json"))


def in_a_fork(words: list[str]) -> int:
    """Start a command line in a fork of this process, which has imported what takes longer than the sweep; its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        code = main(words)
    finally:
        os._exit(code)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
def test_a_sweep_killed_at_any_moment_loses_no_scenario_and_plays_none_twice(tmp_path, monkeypatch):
    words = ["-m", *HERE, *TINY, "output.study=mine", "seed=range(1,13)"]
    monkeypatch.chdir(tmp_path)
    rng, kept = random.Random(3), {}
    for _ in range(3):
        n_kept, deadline_s = len(finished(tmp_path)), time.monotonic() + 60
        sweep = in_a_fork(words)
        while len(finished(tmp_path)) <= n_kept and is_working(sweep) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        os.kill(sweep, signal.SIGKILL)
        os.waitpid(sweep, 0)
        now = finished(tmp_path)
        assert now and kept.items() <= now.items(), "what is finished is not played again"
        kept = now
    assert os.waitstatus_to_exitcode(os.waitpid(in_a_fork(words), 0)[1]) == 0
    assert len(finished(tmp_path)) == 12 and kept.items() <= finished(tmp_path).items()
    assert all(folders.is_finished(row.parent) for row in tmp_path.glob("outputs/mine/*/row.json"))
    assert not list(tmp_path.glob("outputs/mine/*/.*"))


def finished(folder: Path) -> dict[str, tuple[int, int]]:
    """When each row was written, and in which file."""
    return {str(row): (row.stat().st_mtime_ns, row.stat().st_ino) for row in folder.glob("outputs/mine/*/row.json")}
