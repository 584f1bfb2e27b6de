"""Names come from files of others: none moves a cursor, runs in a spreadsheet, or becomes a part of a page."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import sim
from sim.printable import printable
from sim.report.tables import print_summary
from tests.unit.cli import HERE, TINY

EVIL = "\x1b]0;owned\x07\x1b[2J"
HTML = "<script>alert(1)</script>"
POOL = ["lengths=fixed", "horizon_s=60", "arrivals.rate_per_s=0.5"]


def is_plain(*texts: str) -> bool:
    return all(c.isprintable() or c == "\n" for text in texts for c in text)


def test_a_refusal_spells_out_what_it_quotes(play):
    for words in (
        [f"gpu='{EVIL}'"],
        [f"+{EVIL}=1"],
        [f"slo.ttft_s='{EVIL}'"],
        [f"arrivals.path='{EVIL}.csv'", "arrivals=replay"],
    ):
        played = play(*words)
        assert played.code == 2 and is_plain(played.line), played


def test_names_in_a_log_are_spelled_out(play, tmp_path):
    rows = pd.DataFrame({"arrived_s": [0.0, 1.0, 2.0], "input_tokens": 9, "output_tokens": 9, "model": f"m{EVIL}"})
    rows.to_csv(tmp_path / "log.csv", index=False)
    played = play("arrivals=replay", "arrivals.path=log.csv")
    assert played.code == 0 and "\\x1b" in played.out and is_plain(played.out, played.err)


def test_a_pool_may_be_called_what_it_likes():
    """In the table of a terminal, where [..] is markup, too."""
    for name in (EVIL, "[/bold]"):
        shown = io.StringIO()
        summary = {f"pool_{name}_gpu_hours_paid": 1.0, "requests": 1}
        print_summary(summary, name, Console(file=shown, width=200, force_terminal=False))
        assert is_plain(shown.getvalue()) and printable(name) in shown.getvalue()


def test_an_experiment_names_its_competitors(play):
    played = play("-m", *HERE, *TINY, "prices.api.provider='[/x]',y", f"prices.api.as_of='{EVIL}'", "output.study=mine")
    assert played.code == 0 and is_plain(played.out, played.err)


def test_a_bill_is_no_program(play):
    for provider in ("=cmd|' /C calc'!A0", "@SUM(A1)", "+1+1"):
        played = play(*TINY, "fleet=api_only", f'prices.api.provider="{provider}"')
        assert played.code == 0
        (bill,) = Path("outputs").rglob("bill.csv")
        texts = pd.read_csv(bill, dtype=str)["payee"]
        assert set(texts) == {"'" + provider}
        bill.unlink()


@pytest.mark.parametrize("name", [HTML, EVIL])
def test_a_notebook_shows_names_as_text(name, tmp_path):
    base = sim.scenario(*POOL, **{"output.dir": str(tmp_path), "prices.api.provider": name})
    table = sim.sweep(base, **{"slo.ttft_s": [1, 2], "prices.api.as_of": [name]}, n_jobs=1)
    table.notes = (name,)
    assert HTML not in table._repr_html_() and is_plain(repr(table))
