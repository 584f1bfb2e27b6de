"""One random change after another to plain data, text and bytes."""

from __future__ import annotations

import json
import os
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings

JUNK: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 0.5, 1e308, 5e-324, -1e308, 2**63, 10**30, 10**400, float("nan"), float("inf"), "",
    "x", "nan", "inf", "1e999", "\x1b[31m", "=1+1", "../../x", "${oc.env:HOME}", "${x}", "é\ud7ff", [], {}, [1], [[]],
    {"a": 1}, {"kind": "x"}, {"_target_": "os.system"}, "2024-05-14 09:00:03", "9" * 500,
)  # fmt: skip


def examples(few: int) -> settings:
    """Draw `few` in the suite, and by hand as many as the variable FUZZ says; the same ones every time."""
    n = int(os.environ.get("FUZZ", few))
    checks = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
    return settings(max_examples=n, derandomize=True, deadline=None, database=None, suppress_health_check=checks)


def changed(value: Any, rng: Random) -> Any:
    """Plain data with one leaf or branch replaced, removed or added."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(JUNK)
    out: Any = dict(value) if isinstance(value, dict) else list(value)
    place = rng.choice(list(out)) if isinstance(out, dict) else rng.randrange(len(out))
    chance = rng.random()
    if chance < 0.15:
        del out[place]
    elif chance < 0.22 and isinstance(out, dict):
        out[rng.choice(("new", "\x1bnew", "kind", "_target_", ""))] = rng.choice(JUNK)
    else:
        out[place] = changed(out[place], rng)
    return out


def changed_text(text: str, rng: Random) -> str:
    """Text with some cells, separators, lines or its end exchanged or removed."""
    lines = text.splitlines() or [""]
    for _ in range(rng.choice((1, 1, 2, 4))):
        i = rng.randrange(len(lines))
        chance = rng.random()
        if chance < 0.5:
            cells = lines[i].split(",")
            cells[rng.randrange(len(cells))] = str(rng.choice(JUNK))
            lines[i] = ",".join(cells)
        elif chance < 0.6:
            lines[i] = lines[i].replace(rng.choice(',:"{}['), rng.choice(("", ";", "\t", "\x00", '"')))
        elif chance < 0.7:
            lines.insert(i, rng.choice(("", ",,,,,,", "#", lines[i], lines[0])))
        elif chance < 0.8:
            del lines[i]
            lines = lines or [""]
        elif chance < 0.9:
            lines[i] = lines[i][: rng.randrange(len(lines[i]) + 1)]
        else:
            rng.shuffle(lines)
    return "\n".join(lines) + rng.choice(("", "\n", "\r\n", "\x00"))


def changed_bytes(content: bytes, rng: Random) -> bytes:
    """Bytes cut short, exchanged here and there, or in another encoding."""
    chance = rng.random()
    if chance < 0.4:
        return content[: rng.randrange(len(content) + 1)]
    if chance < 0.6:
        return content.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-8-sig", "latin-1")), "replace")
    out = bytearray(content)
    for _ in range(rng.randrange(1, 6)):
        if out:
            out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def as_json(value: Any) -> str:
    """JSON with NaN and infinity, as careless programs write them."""
    return json.dumps(value)
