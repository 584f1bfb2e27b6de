"""Every cold start keeps the contract that `ColdStarts` states: stages in order, its own luck, the mean it says."""

from __future__ import annotations

from math import isfinite

import numpy as np
import pytest

from sim.fleet.supply.cold_start import ColdStart
from sim.fleet.supply.cold_starts import STAGES, ColdStarts
from sim.schema import Config, ConfigError, OneOf, parse_config
from tests.contracts.found import load, names

WEIGHT_BYTES = 16e9
NVME = dict(storage_tier="nvme", bandwidth_gb_per_s=1)


@pytest.fixture(params=names("cold_start", ColdStarts))
def cold_start(request, tmp_path):
    return load(ColdStarts, "cold_start", request.param, tmp_path)


def test_a_cold_start_goes_through_its_stages_in_order(cold_start):
    drawn = cold_start.draw(np.random.default_rng(1), WEIGHT_BYTES)
    places = [STAGES.index(stage) for stage, _ in drawn]
    assert places and places == sorted(set(places))
    assert all(stage.is_cold_start and isfinite(seconds) and seconds >= 0 for stage, seconds in drawn)


def test_the_same_stream_gives_the_same_seconds_and_every_start_takes_equally_many_numbers(cold_start):
    rng, again = np.random.default_rng(1), np.random.default_rng(1)
    first = [cold_start.draw(rng, WEIGHT_BYTES) for _ in range(20)]
    assert first == [cold_start.draw(again, WEIGHT_BYTES) for _ in range(20)]
    small = np.random.default_rng(1)
    for _ in range(20):
        cold_start.draw(small, 0.0)
    assert small.random() == rng.random()


def test_a_cold_start_takes_the_mean_it_states(cold_start):
    rng = np.random.default_rng(2)
    totals = [sum(s for _, s in cold_start.draw(rng, WEIGHT_BYTES)) for _ in range(4000)]
    mean = cold_start.mean_s(WEIGHT_BYTES)
    assert np.mean(totals) == pytest.approx(mean, rel=1e-12, abs=4.5 * np.std(totals) / np.sqrt(len(totals)))


def test_larger_models_start_no_faster(cold_start):
    means = [cold_start.mean_s(weight_bytes) for weight_bytes in (0.0, 16e9, 140e9)]
    assert means == sorted(means)


def test_a_configuration_without_kind_means_stages():
    class Order(Config):
        cold_start: OneOf[ColdStarts]

    keys = dict(
        allocation_s=1, image_s=1, storage_tier="nvme", bandwidth_gb_per_s=1, engine_start_s=1, spread_sigma=0.5
    )
    order = parse_config(Order, {"cold_start": keys})
    assert type(order.cold_start) is ColdStart and order.cold_start.kind == "stages"
    assert order.cold_start.mean_s(WEIGHT_BYTES) >= order.cold_start.median_s(WEIGHT_BYTES)
    with pytest.raises(ConfigError, match="cold_start.kind = 'stage': is not one of .*did you mean stages"):
        parse_config(Order, {"cold_start": keys | {"kind": "stage"}})
