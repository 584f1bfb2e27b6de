"""A request log of any kind, damaged anyhow, is read or refused with one line."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sim.schema import SimError
from sim.workload.logs.request_log import read_log
from tests.contracts.log_samples import SAMPLES
from tests.fuzz.mutations import changed, changed_bytes, changed_text, examples


@given(st.sampled_from(sorted(SAMPLES)), st.randoms(use_true_random=False))
@examples(60)
def test_a_damaged_log_is_read_or_refused(tmp_path, name, rng):
    content = SAMPLES[name].content
    if isinstance(content, list):
        rows = list(content)
        for _ in range(rng.choice((0, 1, 1, 3))):
            i = rng.randrange(len(rows))
            rows[i] = changed(rows[i], rng)
        whole = rng.random() < 0.2
        text, ending = (json.dumps(rows) if whole else "\n".join(map(json.dumps, rows))), "json" if whole else "jsonl"
    else:
        text, ending = content, "csv"
    if rng.random() < 0.4:
        text = changed_text(text, rng)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        data = changed_bytes(data, rng)
    path = tmp_path / f"log.{ending}"
    path.write_bytes(data)
    try:
        log = read_log(str(path))
    except SimError as refused:
        assert "\n" not in str(refused)
    else:
        assert len(log) > 0 and (log.input_tokens >= 0).all() and (log.output_tokens >= 0).all()
