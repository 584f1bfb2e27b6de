"""Check that a scenario keeps within its budget and its SLO: a gate for continuous integration.

SCENARIO is a YAML file of what the command line would say (`gpu: l4`, `slo.ttft_s: 1`), the config.yaml of a run, or
the row.json of a scenario of a sweep; key=value words change it. Replications are added until both are judged: exit
code 0 if both are kept, 1 if not, 2 for bad input. What is not resolved at --most fails, unless --unresolved says
otherwise. Writes JUnit XML and a Markdown
comment. The seed is the scenario's: the same file and program give the same verdict.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Check, print and write. Returns 1 if the budget or the SLO is not kept. Raises SimError for bad input."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim check", description=__doc__)
    parser.add_argument("scenario", metavar="SCENARIO", type=Path, help="a YAML file")
    parser.add_argument("words", nargs="*", metavar="key=value", help="keys of a scenario")
    parser.add_argument("--budget", type=float, required=True, metavar="USD", help="US dollars a month of 730 h")
    parser.add_argument("--before", type=Path, metavar="SCENARIO", help="what there was: its cost, and the difference")
    parser.add_argument("--most", type=int, default=100, help="replications at most (default 100)")
    parser.add_argument("--zone", type=float, default=0.01, help="share of the budget that does not matter (0.01)")
    parser.add_argument("--unresolved", choices=("fail", "pass"), default="fail", help="at --most (default fail)")
    parser.add_argument("--junit", type=Path, help="where the XML goes (default: below output.dir)")
    parser.add_argument("--markdown", type=Path, help="where the comment goes (likewise)")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: one per core)")
    given = parser.parse_intermixed_args(argv)
    from sim.printable import printable
    from sim.study.folder import require_writable
    from sim.study.gate import MARKDOWN, XML, check, read_scenario, write

    config = read_scenario(given.scenario, given.words)
    before = None if given.before is None else (str(given.before), read_scenario(given.before, given.words))
    folder = Path(config["output"]["dir"]) / "check" / given.scenario.stem
    xml, markdown = given.junit or folder / XML, given.markdown or folder / MARKDOWN
    for path in (xml, markdown):
        require_writable(path.parent)
    found = check(
        given.scenario.name, config, given.budget, before=before, most=given.most, zone=given.zone, n_jobs=given.jobs,
        unresolved_passes=given.unresolved == "pass",
    )  # fmt: skip
    write(found, xml, markdown)
    print(printable(str(found)))
    print(printable(f"-> {xml}, {markdown}"))
    return 0 if found.passed else 1
