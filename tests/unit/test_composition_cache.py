"""Configurations that choose the same files share the reading of them, and nothing else."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import sim
from sim.conf_path import conf_dir
from sim.hydra_door import composed, hydra_door

WORDS = ["gpu=l4", "seed=7", "fleet=scale_to_zero", "+arrivals.exact_tasks=30", "engine.max_num_seqs=8", "~victim"]


def as_data(config):
    return OmegaConf.to_container(
        OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]), resolve=True
    )


def test_it_is_what_hydra_composes_from_the_same_words():
    with hydra_door(), initialize_config_dir(str(conf_dir()), version_base="1.3"):
        by_hydra = compose("config", WORDS, return_hydra_config=True)
    assert as_data(composed(WORDS)) == as_data(composed(WORDS)) == as_data(by_hydra)


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


@pytest.mark.parametrize("word", ["sead=3", "seed.x=1", "engine.max_num_seqs.y=2", "+seed=3", "~seed=4"])
def test_a_key_that_cannot_be_set_is_refused_in_one_line(word):
    with pytest.raises(sim.ConfigError) as refused:
        sim.scenario(word, horizon_s=60)
    assert len(str(refused.value).splitlines()) == 1
