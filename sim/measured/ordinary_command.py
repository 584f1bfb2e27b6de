"""The words by which the ordinary command plays the scenario that a measured run is played as."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sim.hardware.names import gpu_file, model_file
from sim.hydra_door import plain
from sim.scenarios import Scenario, compose_config

_GROUPS = ("arrivals", "lengths", "gpu", "model", "engine", "scaling", "queue", "horizon_s")
_LENGTHS = {"uniform": "uniform", "lognormal": "chat"}


def words_of(scenario: Scenario, engine: str) -> list[str]:
    """Overrides with which `llm-traffic-sim` plays `scenario`, a closed loop on the `engine` file of conf/engine.

    Where a value is that of the chosen file, it is left out. Raises ConfigError for a model that conf/model has not.
    """
    words = [
        "arrivals=closed_loop", f"lengths={_LENGTHS[scenario.lengths.kind]}", f"gpu={gpu_file(scenario.gpu.name)}",
        f"model={model_file(scenario.model.hugging_face_id)}", f"engine={engine}", "scaling=always_on",
        "cold_start=instant", "routing=fleet_only", "api=none",
    ]  # fmt: skip
    raw = plain(compose_config(*words))
    for group in _GROUPS:
        chosen = getattr(scenario, group)
        if hasattr(chosen, "model_dump"):
            usual = type(chosen).model_validate(raw[group])
            words += _differences(group, usual.model_dump(mode="json"), chosen.model_dump(mode="json"))
        elif chosen != raw[group]:
            words.append(f"{group}={_text(chosen)}")
    priced = raw["prices"]["gpu"]["usd_per_gpu_hour"]
    if scenario.gpu.name not in priced:
        words.append(f"++prices.gpu.usd_per_gpu_hour.{scenario.gpu.name}=1")
    return words


def _differences(key: str, usual: Any, chosen: Any) -> Iterator[str]:
    if isinstance(chosen, dict) and (usual is None or isinstance(usual, dict)):
        for name, value in chosen.items():
            yield from _differences(f"{key}.{name}", (usual or {}).get(name), value)
    elif usual != chosen:
        yield f"++{key}={_text(chosen)}"


def _text(value: Any) -> str:
    return json.dumps(value)
