"""Which model a result file is of, where it names it by a path or by a cache folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sim.hardware.names import model_file
from sim.schema import ConfigError

_CACHE = re.compile(r"models--([^/]+?)--([^/]+)")


def served_model(names: Iterable[Any]) -> str | None:
    """The first of `names` that conf/model knows, spelled as an id; else the first one; None if none is a text.

    A path counts by the last of its folders that conf/model knows, a Hugging Face cache by the id in its name.

    >>> served_model(["/models/Llama-3.1-8B-Instruct/"]), served_model([None, "mine", "Qwen/Qwen3-8B"])
    ('Llama-3.1-8B-Instruct', 'Qwen/Qwen3-8B')
    >>> served_model(["/cache/models--Qwen--Qwen3-8B/snapshots/0a1b2c"])
    'Qwen/Qwen3-8B'
    """
    texts = [name for name in names if isinstance(name, str) and name not in ("", "None")]
    spellings = (spelling for text in texts for spelling in _spellings(text))
    return next((spelling for spelling in spellings if _is_known(spelling)), texts[0] if texts else None)


def _spellings(text: str) -> list[str]:
    cache = _CACHE.search(text)
    if cache:
        return [f"{cache[1]}/{cache[2]}"]
    folders = [folder for folder in text.split("/") if folder]
    return [text] if len(folders) <= 2 and not text.endswith("/") else folders[::-1]


def _is_known(name: str) -> bool:
    try:
        model_file(name)
    except ConfigError:
        return False
    return True
