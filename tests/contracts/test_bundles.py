"""Whatever bundle chose the parts of a fleet, each of them can be chosen anew."""

from __future__ import annotations

import pytest
import yaml
from omegaconf import OmegaConf

from sim.hydra_door import plain
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError
from tests.contracts.found import CONFIG_DIRS, files, raw

GROUPS = {folder.name for folder in CONFIG_DIRS[0].iterdir() if folder.is_dir()}
LAWS = (
    "needs a fleet", "needs an api", "nothing would serve a request", "need a first pool",
    "the API takes what should come to this pool",
)  # fmt: skip
"""What may stand between a bundle and another router or scaler: a backend is absent, or would have no work."""


def members(config, group):
    """Every file of a group by name, as Hydra composes it into the configuration: its references resolved there."""
    return {name: plain(OmegaConf.merge(config, {group: raw(path)}))[group] for name, path in files(group).items()}


def refusal(config):
    try:
        parse(config)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("group", ["fleet", "pools"])
def test_a_bundle_chooses_files_and_leaves_no_key_behind_in_a_group(group):
    for name, path in files(group).items():
        keys = set(yaml.safe_load(path.read_text())) - {"defaults"}
        left = keys & GROUPS
        assert not left, f"conf/{group}/{name}.yaml sets {left}: another file of that group would be refused with it"


@pytest.mark.parametrize("fleet", files("fleet"))
def test_every_router_and_scaler_goes_with_every_bundle_or_one_line_says_why_not(fleet):
    bundle = compose_config(f"fleet={fleet}", "horizon_s=60")
    bare = OmegaConf.create({key: value for key, value in bundle.items() if key not in ("routing", "scaling")})
    bare.name, keys = fleet, plain(bundle)
    routers, scalers = members(bare, "routing"), members(bare, "scaling")
    refusals = {
        f"routing={routing} scaling={scaling}": refusal(
            keys | {"routing": routers[routing], "scaling": scalers[scaling]}
        )
        for routing in routers
        for scaling in scalers
    }
    for words, line in refusals.items():
        lawful = line is None or (len(line.splitlines()) == 1 and any(law in line for law in LAWS))
        assert lawful, f"fleet={fleet} {words}: {line}"
    assert sum(line is None for line in refusals.values()) >= len(scalers) - 1


@pytest.mark.parametrize(
    "words", [("fleet=hybrid_overflow", "routing=fleet_only"), ("fleet=scale_to_zero", "scaling=keda")]
)
def test_hydra_composes_a_bundle_with_another_choice(words):
    assert refusal(compose_config(*words, "horizon_s=60")) is None
