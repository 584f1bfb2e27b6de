"""No configuration runs code, reads the environment, or leaves the folders it was pointed at, in any spelling."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

import sim
from sim.schema import ConfigError
from tests.unit.cli import HERE, TINY, files_below


class Opens:
    """Pickled, it makes a folder where it is read."""

    def __reduce__(self):
        return os.mkdir, ("oops",)


@pytest.fixture
def mine(tmp_path):
    """Writes a file below mine/, a folder of configurations."""
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Opens()))
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/__init__.py").write_text("import os; os.mkdir('oops')\n")

    def write(name: str, text: str) -> None:
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


READ_PICKLE = "pandas.read_pickle, filepath_or_buffer: x.pkl"
GLOBAL = "# @package _global_\n"
IN_FILES = {
    "a callback": f"hydra: {{callbacks: {{x: {{_target_: {READ_PICKLE}}}}}}}",
    "an escaped key": f'hydra: {{callbacks: {{x: {{"\\x5ftarget_": {READ_PICKLE}}}}}}}',
    "an anchor": f"x: &x {{_target_: {READ_PICKLE}}}\nhydra: {{callbacks: {{x: *x}}}}",
    "an interpolation": f"x: {{_target_: {READ_PICKLE}}}\nhydra: {{callbacks: {{x: '${{x}}'}}}}",
    "a made node": "hydra: {callbacks: {x: \"${oc.create:{'_target_': os.mkdir, path: oops}}\"}}",
    "a log handler": "hydra: {job_logging: {handlers: {h: {class: logging.FileHandler, filename: oops}}}}",
    "a factory of a log handler": "hydra: {hydra_logging: {formatters: {f: {(): os.mkdir, path: oops}}}}",
    "a launcher": "hydra: {launcher: {_target_: os.mkdir}}",
    "an argument of a launcher": f"hydra: {{launcher: {{batch_size: {{_target_: {READ_PICKLE}}}}}}}",
    "an argument of the sweeper": f"hydra: {{sweeper: {{params: {{seed: {{_target_: {READ_PICKLE}}}}}}}}}",
    "a made argument": "hydra: {sweeper: {params: {x: \"${oc.create:{'_target_': os.mkdir}}\"}}}",
    "a folder for Hydra": "hydra: {run: {dir: oops}, output_subdir: here}",
    "variables": "hydra: {job: {env_set: {LD_PRELOAD: x}}}",
    "another folder": "hydra: {job: {chdir: true}}",
    "a target in the task": f"arrivals: {{_target_: {READ_PICKLE}}}",
    "the environment": "name: ${oc.env:SECRET}",
    "the environment or else": "name: ${oc.env:SECRET,x}",
    "the environment in a made node": "name: ${oc.decode:'${oc.env:SECRET}'}",
    "the environment in a choice": "defaults: [{override /gpu: '${oc.env:SECRET}'}]",
    "a file elsewhere": "defaults: [/../../secret]",
}


@pytest.mark.parametrize("text", IN_FILES.values(), ids=IN_FILES)
@pytest.mark.parametrize("as_sweep", [False, True], ids=["run", "sweep"])
def test_a_file_of_ones_own_cannot_say_it(text, as_sweep, mine, play, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "secret.yaml").write_text("name: hunter2\n")
    mine("experiment/e.yaml", f"{GLOBAL}{text}\n")
    before = files_below(tmp_path)
    said = play("--config-dir=mine", *(["-m", "seed=1,2"] if as_sweep else []), "+experiment=e", *TINY)
    assert said.code == 2 and said.line.startswith("error: "), said
    assert "hunter2" not in said.out + said.err
    assert files_below(tmp_path) == before


IN_WORDS = {
    "a target": ["+arrivals._target_=os.system"],
    "a target in a mapping": ["+arrivals={_target_: os.system}"],
    "a quoted target": ['+arrivals={"_target_": os.system}'],
    "a callback": ["+hydra.callbacks={x: {_target_: os.mkdir, path: oops}}"],
    "a handler": ["+hydra.job_logging.handlers={h: {class: logging.FileHandler, filename: oops}}"],
    "Hydra's own logging": ["hydra/job_logging=default"],
    "a folder": ["hydra.run.dir=oops"],
    "a module": ["hydra.searchpath=[pkg://evil]"],
    "the environment": ["name=${oc.env:SECRET}"],
    "a quoted environment": ["name='x ${oc.env:SECRET} y'"],
    "a choice elsewhere": ["gpu=../../secret"],
}


@pytest.mark.parametrize("words", IN_WORDS.values(), ids=IN_WORDS)
def test_a_command_line_cannot_say_it(words, mine, play, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.syspath_prepend(tmp_path)
    before = files_below(tmp_path)
    said = play(*words, *TINY)
    assert said.code == 2 and said.line.startswith("error: "), said
    assert "hunter2" not in said.out + said.err
    assert files_below(tmp_path) == before


SEARCHED = ("hydra.searchpath=[file://{0}]", "hydra.searchpath=['file://{0}']", 'hydra.searchpath=["{0}"]',
            "++hydra.searchpath=['{0}']")  # fmt: skip


@pytest.mark.parametrize("word", SEARCHED)
def test_a_folder_that_is_searched_is_read_and_checked(word, mine, play, tmp_path):
    mine("experiment/good.yaml", f"{GLOBAL}seed: 7\n")
    mine("experiment/evil.yaml", f"{GLOBAL}{IN_FILES['a callback']}\n")
    (tmp_path / "linked").symlink_to("mine", target_is_directory=True)
    searched = word.format(tmp_path / "linked")
    said = play(searched, "+experiment=evil", *TINY)
    assert said.code == 2 and not (tmp_path / "oops").exists() and not (tmp_path / "outputs").exists()
    if not word.startswith("++"):  # Hydra looks for its search path under the plain key
        assert play(searched, "+experiment=good", *TINY).code == 0


def test_what_a_configuration_may_say_to_hydra(mine, play):
    mine("experiment/e.yaml", f"{GLOBAL}hydra: {{mode: MULTIRUN, sweeper: {{params: {{seed: '1,2'}}}}}}\n")
    said = play("--config-dir=mine", "+experiment=e", *HERE, *TINY)
    assert said.code == 0 and len(list(Path("outputs/by_seed").glob("*/row.json"))) == 2


def test_python_is_told_so_too(monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    for word in ("name=${oc.env:SECRET}", "+hydra.callbacks={x: {_target_: os.mkdir, path: oops}}"):
        with pytest.raises(ConfigError) as refused:
            sim.scenario(word)
        assert "hunter2" not in str(refused.value)
    assert not Path("oops").exists()


GROUPS = ("arrivals", "lengths", "tasks", "gpu", "model", "engine", "scaling", "cold_start", "victim", "reliability",
          "routing", "placement", "pools", "api", "prices", "slo", "fleet", "+experiment")  # fmt: skip
NO_NAMES = ("4090", "2.5", "null", "true", "[]", "[1]", "{}", "{kind: x}")


NO_NAME_OF_A_GROUP = [(group, NO_NAMES[i % len(NO_NAMES)]) for i, group in enumerate(GROUPS)]
NO_NAME_OF_A_GROUP += [("gpu", value) for value in NO_NAMES] + [("+experiment", value) for value in NO_NAMES]


@pytest.mark.parametrize(("group", "value"), NO_NAME_OF_A_GROUP)
def test_a_group_takes_the_name_of_a_choice(group, value):
    with pytest.raises(ConfigError, match=rf"{group.strip('+')}=.*: is not one of \w") as refused:
        sim.scenario(f"{group}={value}")
    assert "\n" not in str(refused.value)


def test_the_nearest_choice_is_offered(play):
    said = play("gpu=4090", "horizon_s=20")
    assert said.code == 2 and said.line.endswith("did you mean gpu=rtx_4090?")
