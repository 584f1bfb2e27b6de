"""Configurations that choose the same files share the reading of them, and nothing else."""

from __future__ import annotations

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import OmegaConf

import sim
from sim.composer import Composer, composed

WORDS = ["gpu=l4", "seed=7", "fleet=scale_to_zero", "+arrivals.exact_tasks=30", "engine.max_num_seqs=8", "~victim"]


def as_data(config):
    return OmegaConf.to_container(
        OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]), resolve=True
    )


@pytest.mark.parametrize("launcher", ["joblib", "basic"])
def test_it_is_what_hydra_composes_from_the_same_words(launcher):
    """Also the second time, and Hydra's own node, some of which is kept from an earlier configuration."""
    words = [*WORDS, f"hydra/launcher={launcher}"]
    ours = Composer().loader()
    by_hydra = ConfigLoaderImpl(ours.config_search_path).load_configuration("config", words, RunMode.RUN)
    for _ in range(2):
        found = ours.load_configuration("config", words, RunMode.RUN)
        assert repr(OmegaConf.to_container(found)) == repr(OmegaConf.to_container(by_hydra))
    assert as_data(composed(words)) == as_data(by_hydra)


def test_a_key_set_in_one_configuration_is_not_set_in_the_next():
    changed = composed(["seed=7", "engine.max_num_seqs=8"])
    changed.engine.block_tokens = 32
    plain = composed([])
    assert (plain.seed, plain.engine.max_num_seqs, plain.engine.block_tokens) == (1, 256, 16)


def test_a_file_that_has_changed_is_read_again(tmp_path):
    (tmp_path / "gpu").mkdir()
    file = tmp_path / "gpu" / "mine.yaml"
    found = []
    for price in (1, 2):
        file.write_text("defaults: [l4]\n" + f"memory_gb: {price}\n" + " " * price)
        found.append(composed(["gpu=mine"], tmp_path).gpu.memory_gb)
    assert found == [1, 2]


def test_a_list_of_files_may_refer_to_a_choice_in_it(tmp_path):
    for name, text in {
        "card/small.yaml": "gb: 24",
        "card/large.yaml": "gb: 80",
        "note/small.yaml": "says: one of two",
        "note/large.yaml": "says: alone",
        "experiment/mine.yaml": "# @package _global_\ndefaults: [/card: small, /note: '${card}']",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = composed(["+experiment=mine"], tmp_path), composed(["+experiment=mine", "card=large"], tmp_path)
    assert [(config.card.gb, config.note.says) for config in found] == [(24, "one of two"), (80, "alone")]


@pytest.mark.parametrize("word", ["sead=3", "seed.x=1", "engine.max_num_seqs.y=2", "+seed=3", "~seed=4"])
def test_a_key_that_cannot_be_set_is_refused_in_one_line(word):
    with pytest.raises(sim.ConfigError) as refused:
        sim.scenario(word, horizon_s=60)
    assert len(str(refused.value).splitlines()) == 1


KEYS = {
    "numbers": ["seed=7", "slo.ttft_s=0.5", "engine.max_num_seqs=8", "horizon_s=1e3", "replications=auto"],
    "texts": [
        "name='a: b'",
        "name=true",
        "name='true'",
        "name=null",
        "name='x=${seed}'",
        "starts_at='2026-01-01T00:00'",
    ],
    "later words win": ["seed=1", "seed=2", "lengths=fixed", "lengths.input_tokens=3"],
    "a key that names refer to": ["seed=2", "arrivals.kind=bursty"],
    "a key that refers": ["scaling=scale_to_zero_full_batches", "engine.max_num_seqs=9"],
    "a reference to a key": ["slo.ttft_s=${horizon_s}", "horizon_s=77"],
    "a table in place of null": ["disaggregation={prefill_replicas:1,link_gb_per_s:50}", "seed=4"],
    "an added key": ["+arrivals.exact_tasks=30", "arrivals.exact_tasks=31"],
    "a removed group": ["~victim", "seed=4"],
    "a list": ["arrivals=weekly", "seed=3"],
}


@pytest.mark.parametrize("what", KEYS)
def test_keys_set_in_plain_data_are_as_hydra_sets_them(what, monkeypatch):
    """Not only equal: 1, 1.0 and True are three values, and each has a digest of its own."""
    fast = Composer().plain(KEYS[what])
    monkeypatch.setattr("sim.composer._set_leaf", lambda override, config: False)
    assert repr(fast) == repr(Composer().plain(KEYS[what]))


@pytest.mark.parametrize("word", ["seed.x=1", "sead=3", "arrivals.rate_per_s.y=2", "lengths.input.x=1"])
def test_a_key_that_is_none_is_refused_by_hydra_there_too(word):
    with pytest.raises(sim.ConfigError):
        Composer().plain([word])
