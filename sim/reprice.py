"""Other prices for what was already simulated: `python -m sim.reprice OUTPUT prices=NAME [prices.key=value ...]`.

OUTPUT is the folder of a run or of a whole sweep. The new bills go to OUTPUT/repriced/<prices>/; nothing is overwritten
but an earlier re-pricing of the same name, and nothing is simulated.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sim.conf_path import conf_dir
from sim.ledger.bill import bill, money
from sim.ledger.prices import Prices
from sim.report.intervals import over_replications
from sim.schema import ConfigError, SimError, parse_node
from sim.study import collect
from sim.study.folder import (
    BILL,
    CONFIG,
    MANIFEST,
    ROW,
    SUMMARY,
    USAGE,
    read_json,
    require_writable,
    write_json,
    write_text,
)
from sim.study.refusals import REFUSABLE, exit_code, one_line, refuse_code, refuse_code_in_arguments
from sim.study.results import read_usages, write_bills

SHOWN = ("usd_total", "usd_gpu", "usd_api", "usd_per_mtok_output")


def reprice_folder(output: Path, words: Sequence[str], config_dir: Path | None = None) -> Path:
    """Bill a finished run, or every finished scenario of a sweep, anew. Returns the new folder.

    `words` are `prices=NAME` (a file of the group conf/prices; without it the run's own prices) and `prices.key=value`.
    A scenario that the list cannot price becomes a failed row; raises ConfigError, with nothing written, if none can.
    """
    runs = _finished_runs(output)
    name, changes = _read_words(words)
    listed = _named(name, config_dir) if name else None
    folder = output / "repriced" / _folder_name(name, changes)
    require_writable(folder)
    done: dict[Path, dict[str, Any] | ConfigError] = {}
    for run in runs:
        try:
            raw = listed if listed is not None else OmegaConf.load(run / CONFIG).prices
            prices = _changed(raw, changes)
            done[run] = _priced(run, parse_node(Prices, prices["prices"])) | {"prices": prices}
        except ConfigError as error:
            done[run] = error
    if all(isinstance(d, ConfigError) for d in done.values()):
        raise next(iter(done.values()))
    for run, outcome in done.items():
        _write(folder if run == output else folder / run.name, read_json(run / ROW), outcome)
    if runs != [output]:
        write_json(folder / MANIFEST, {"digests": [run.name for run in runs]})
    return folder


def _finished_runs(output: Path) -> list[Path]:
    if (output / USAGE).is_file():
        return [output]
    listed = [path.parent for path in collect.row_files(output) if (path.parent / USAGE).is_file()]
    runs = [run for run in listed if (read_json(run / ROW) or {}).get("status") == "ok"]
    if not runs:
        raise ConfigError(f"{output}: holds no finished run ({USAGE}) and no sweep of finished runs")
    return runs


def _read_words(words: Sequence[str]) -> tuple[str | None, dict[str, Any]]:
    name, changes = None, {}
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = override.get_key_element().lstrip("+")
        if key == "prices":
            name = str(override.value())
        elif key.startswith("prices."):
            changes[key] = override.value()
        else:
            raise ConfigError(f"{override.input_line}: only prices can be changed after a run")
    if name is None and not changes:
        raise ConfigError("say which prices: prices=NAME or prices.key=value")
    return name, changes


def _named(name: str, config_dir: Path | None) -> Any:
    extra = [f"hydra.searchpath=[file://{config_dir.resolve()}]"] if config_dir else []
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        return compose("config", overrides=[f"prices={name}", *extra]).prices


def _changed(prices: Any, changes: dict[str, Any]) -> dict[str, Any]:
    tree = OmegaConf.create({"prices": OmegaConf.to_container(prices)})
    for key, value in changes.items():
        OmegaConf.update(tree, key, value)
    plain = OmegaConf.to_container(tree, resolve=True)
    refuse_code(plain)
    return plain


def _priced(run: Path, prices: Prices) -> dict[str, Any]:
    gpu, model, usages = read_usages(run / USAGE)
    bills = [bill(usage, prices, gpu, model) for usage in usages]
    figures = over_replications([money(lines, usage) for lines, usage in zip(bills, usages, strict=True)])
    return {"bills": bills, "figures": figures}


def _write(folder: Path, row: dict[str, Any], outcome: dict[str, Any] | ConfigError) -> None:
    if isinstance(outcome, ConfigError):
        failed = row | {"status": "failed", "error": one_line(outcome).removeprefix("error: "), "summary": {}}
        write_json(folder / ROW, failed)
        return
    before = row["summary"]
    after = before | outcome["figures"]
    write_text(folder / "prices.yaml", OmegaConf.to_yaml(OmegaConf.create(outcome["prices"])))
    write_bills(folder / BILL, outcome["bills"])
    write_json(folder / SUMMARY, {k: None if v == "inf" else v for k, v in after.items()})
    write_json(folder / ROW, row | {"summary": after, "before": {key: before.get(key) for key in SHOWN}})


def _folder_name(name: str | None, changes: dict[str, Any]) -> str:
    if not changes:
        return str(name)
    return f"{name or 'changed'}-{hashlib.sha256(repr(sorted(changes.items())).encode()).hexdigest()[:6]}"


def _comparison(folder: Path) -> list[str]:
    paths = [folder / ROW] if (folder / ROW).is_file() else collect.row_files(folder)
    shown = ("usd_total", "usd_per_mtok_output")
    lines = [f"{'':40}" + "".join(f"{key + ' before':>28}{'after':>12}" for key in shown)]
    for row in filter(None, map(read_json, paths)):
        label = ", ".join(f"{k}={v}" for k, v in row["overrides"].items()) or row["digest"]
        if row["status"] != "ok":
            lines.append(f"{label[:40]:40}  {row['error']}")
            continue
        pairs = ((row["before"][key], row["summary"][key]) for key in shown)
        lines.append(f"{label[:40]:40}" + "".join(f"{_usd(old):>28}{_usd(new):>12}" for old, new in pairs))
    return lines


def _usd(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def main() -> None:
    """Run the command line. Exit codes: 0, 1 some scenarios could not be priced, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m sim.reprice", description=__doc__, add_help=True)
    parser.add_argument("output", type=Path, help="folder of a finished run or sweep")
    parser.add_argument("words", nargs="*", metavar="prices=NAME", help="or prices.key=value")
    parser.add_argument("--config-dir", type=Path, help="a folder with your own prices/NAME.yaml")
    given = parser.parse_args()
    try:
        refuse_code_in_arguments(given.words, [given.config_dir] if given.config_dir else [])
        folder = reprice_folder(given.output, given.words, given.config_dir)
        print("\n".join(_comparison(folder)))
        n_failed = 0
        if (folder / MANIFEST).is_file():
            table = collect.collect(folder)
            collect.write_table(table, folder)
            n_failed = int((table["status"] != "ok").sum())
        print(f"-> {folder}")
    except (*REFUSABLE, SimError) as error:
        print(one_line(error), file=sys.stderr)
        raise SystemExit(exit_code(error)) from None
    if n_failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
