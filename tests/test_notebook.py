"""The notebook runs from top to bottom, and a class that a cell defines goes to other processes as it is."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

QUICKSTART = Path(__file__).resolve().parent.parent / "examples/quickstart.ipynb"


def executed(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The notebook after all its cells ran in `folder`; the first error of a cell is raised."""
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def printed(cell: nbformat.NotebookNode, stream: str) -> str:
    return "".join(output["text"] for output in cell["outputs"] if output.get("name") == stream)


def shown(cell: nbformat.NotebookNode, kind: str) -> str:
    return "".join(output["data"].get(kind, "") for output in cell["outputs"] if "data" in output)


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(QUICKSTART, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
    assert not re.search(r"/(home|Users|work|tmp)/|[A-Z]:\\\\", QUICKSTART.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_notebook_plays_a_policy_of_its_own_with_twenty_seeds_and_sweeps_it(tmp_path):
    notebook = executed(nbformat.read(QUICKSTART, as_version=4), tmp_path)
    cells = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    assert "played in this process" not in "".join(printed(cell, "stderr") for cell in cells)
    assert len([cell for cell in cells if shown(cell, "image/png")]) == 2
    result, table = (
        next(c for c in cells if "sim.replicate(" in c["source"]),
        next(c for c in cells if "sim.sweep(" in c["source"]),
    )
    assert "replications: 20" in shown(result, "text/html")
    assert shown(table, "text/html").count("fewest_prompt_tokens") >= 3  # one row per rate
    assert len(list((tmp_path / "outputs/quickstart").glob("*/row.json"))) == 6


RULE = """
from typing import Literal
import sim

CHOSEN = {chosen}

class OfACell(sim.Placement):
    kind: Literal["of_a_cell"] = "of_a_cell"

    def choose(self, request, replicas):
        return replicas[CHOSEN]
"""
SWEEP = """
base = sim.scenario("lengths=fixed", horizon_s=300, **{"arrivals.rate_per_s": 0.1, "scaling.n_replicas": 2})
table = sim.sweep(base, study="cells", placement=[OfACell(), "random"])
print(list(table.frame["status"]), len(sim.load("outputs/cells")))
"""


@pytest.mark.slow
def test_a_cell_that_runs_again_keeps_its_rows_and_a_changed_class_is_played(tmp_path):
    sources = [RULE.format(chosen=0), SWEEP, RULE.format(chosen=0), SWEEP, RULE.format(chosen=-1), SWEEP]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    first, again, changed = executed(notebook, tmp_path).cells[1::2]
    assert "['ok', 'ok']" in printed(first, "stdout") and "played in this process" not in printed(first, "stderr")
    assert "2 of 2 scenarios are already done" in printed(again, "stderr")
    assert "1 of 2 scenarios are already done" in printed(changed, "stderr")
