"""The table of errors on the pages is that of the errors that are kept; its arithmetic is right."""

from __future__ import annotations

import pytest

from sim.measured.prediction import Prediction
from tests.fidelity.errors_table import BEGIN, END, PAGES, Errors, Sampled, errors_of, table, with_table, written


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_show_the_errors_that_are_kept(page):
    text = page.read_text(encoding="utf-8")
    errors, before = written()
    assert with_table(text, table(errors, before if PAGES[page] else None)) == text, (
        "make fidelity ARGS=--write writes it"
    )
    assert text.count(BEGIN) == text.count(END) == 1


def test_every_group_of_the_sample_is_in_the_table_of_families():
    assert sum(isinstance(part, Sampled) for part in written()[0]) == 14


def test_what_was_before_stands_in_front_where_it_is_another_figure():
    errors, _ = written()
    first, second, *_ = errors  # as the parts stand in the table
    text = table(errors, {first: errors[first]._replace(ttft=0.5), second: errors[second]})
    assert "| 50 → " in text.splitlines()[2] and text.count("→") == 1 and "→" not in table(errors)


def test_errors_are_means_over_loads_that_held():
    """Two stages are 10 and 30 % off in TTFT; one that was overloaded, a guess and the whole run do not count."""
    seen = dict(experiment="run", metric="ttft_mean_s", measured=1.0)
    rows = [
        Prediction(stage=0, predicted=1.1, **seen), Prediction(stage=1, predicted=0.7, **seen),
        Prediction(stage=2, predicted=9.0, overloaded=True, **seen), Prediction(stage="overall", predicted=5.0, **seen),
        Prediction(stage=1, predicted=4.0, guess="kv_dtype fp8, not bf16", **seen),
        Prediction("run", 0, "output_tok_per_s", 98.0, 100.0), Prediction("run", 0, "tpot_mean_s", 0.9, 1.0),
    ]  # fmt: skip
    errors = errors_of(rows, says_throughput=True)
    assert errors == Errors(2, pytest.approx(0.02), pytest.approx(0.2), pytest.approx(0.1))
    assert errors_of(rows, says_throughput=False).throughput is None
