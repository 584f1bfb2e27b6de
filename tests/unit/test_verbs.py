"""One program with verbs: what it lists, what it refuses, and the names of version 0.1 that keep working."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.__main__ import main, verbs

ROOT = Path(__file__).resolve().parents[2]
OLD_NAMES = {
    "sim.reprice": "reprice", "sim.calibrate": "calibrate", "sim.calibrate.sample_results": "sample-results",
    "sim.fidelity": "fidelity", "sim.compile": "compile", "sim.workload.sample_log": "sample-log",
    "sim.study.bench": "bench",
}  # fmt: skip


def program(*words: str, module: str = "sim", **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip


@pytest.mark.parametrize("verb", sorted(verbs().keys() - {"run"}))
def test_the_help_of_a_verb_loads_no_simulator(verb):
    heavy = ("numpy", "pandas", "scipy", "simpy", "hydra", "matplotlib")
    code = f"""
import sys
from sim.__main__ import main
try:
    main([{verb!r}, "--help"])
finally:
    print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    assert done.stdout.endswith("\n[]\n")


def test_the_help_lists_every_verb_on_one_screen(play):
    said = play("--help")
    assert said.code == 0 and len(said.out.splitlines()) <= 30 and max(map(len, said.out.splitlines())) <= 120
    assert {"run", "reprice", "calibrate", "fidelity", "bench", "compile", "sample-log"} <= set(verbs())
    for verb, purpose in verbs().items():
        assert f"  {verb} " in said.out and purpose in said.out and purpose.endswith(".")


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_explains_itself_under_the_name_of_the_program(verb, play):
    said = play(verb, "--help")
    assert said.code == 0 and f"llm-traffic-sim {verb}" in said.out and said.err == ""


def test_the_version_is_that_of_the_package(play):
    said = play("--version")
    assert said.code == 0 and said.out.startswith("llm-traffic-sim ") and said.out.strip()[-1].isdigit()


@pytest.mark.parametrize(
    "word, hint", [("reprise", "did you mean llm-traffic-sim reprice?"), ("zzz", "the verbs are bench, bill-agents")]
)
def test_an_unknown_verb_is_refused_with_the_nearest(word, hint, play, tmp_path):
    said = play(word, "outputs")
    assert said.code == 2 and said.line.startswith(f"error: {word!r}: is not a verb") and hint in said.line
    assert not list(tmp_path.iterdir())


def test_the_first_verb_may_be_left_out(play, tmp_path):
    assert play("run", "arrivals=nope").line == play("arrivals=nope").line


@pytest.mark.parametrize("module", OLD_NAMES)
def test_the_names_of_version_0_1_still_work(module):
    done = program("--help", module=module)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: llm-traffic-sim {OLD_NAMES[module]} "), done.stderr


@pytest.mark.slow
def test_a_terminal_that_lacks_a_character_gets_another(tmp_path):
    done = program("sample-log", str(tmp_path / "grüße.csv"), "--requests", "5", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "gr??e.csv: 5 requests" in done.stdout and (tmp_path / "grüße.csv").is_file()


def test_a_reader_that_leaves_is_no_error_to_talk_about():
    command = [sys.executable, "-m", "sim", "run", "--help"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            command, stdout=gone, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60
        )
    assert done.returncode == 1 and done.stderr == b""


def test_an_interrupted_verb_says_so(monkeypatch, capsys):
    def pressed(_words):
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.cli.compile.main", pressed)
    assert main(["compile"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
