"""Other prices for what was already simulated: `llm-traffic-sim reprice OUTPUT prices=NAME [prices.key=value ...]`.

The new bills go to OUTPUT/repriced/<prices>/; nothing is overwritten but an earlier re-pricing of the same name.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sim.composer import composed
from sim.errors import one_line
from sim.hydra_door import plain
from sim.ledger.bill import bill, bill_by_application, bill_by_hour, money, money_by_application
from sim.ledger.prices import Prices
from sim.printable import printable
from sim.report import screen
from sim.report.formatting import usd
from sim.report.pooling import CI_SUFFIX, over_replications
from sim.report.verdict import verdicts
from sim.schema import Config, ConfigError, parse_config
from sim.study.collect import replications, setting, table_of, write_table
from sim.study.competitors import GROUP, LABEL, labelled
from sim.study.enough import confidence_of
from sim.study.folder import (
    BILL,
    CONFIG,
    MANIFEST,
    REPLICATIONS,
    ROW,
    SUMMARY,
    USAGE,
    require_writable,
    write_json,
    write_text,
)
from sim.study.hindsight import KEYS, repriced
from sim.study.manifest import Manifest, write_manifest
from sim.study.members import members_of, missing, scenarios_of
from sim.study.results import bills_text, read_usages
from sim.study.saved import (
    DAMAGED,
    Row,
    in_short,
    is_run,
    read_beside,
    read_config,
    read_replications,
    read_row,
    within,
)
from sim.study.scenario_folders import digest_in, folders_in
from sim.study.setting import price_lists, setting_lines

BY = {"hour": bill_by_hour, "application": bill_by_application}
SHOWN = ("usd_per_month", "usd_total", "usd_per_mtok_total", "usd_gpu", "usd_api")
"""Printed before and after; the last ones are left out on a narrow screen."""


class _Priced(Config):
    prices: Prices  # A field of its own, so that an error names the full key: prices.gpu...


def reprice_folder(
    output: Path,
    words: Sequence[str],
    config_dir: Path | None = None,
    by: Sequence[str] = (),
    names: Sequence[str] | None = None,
) -> Path:
    """Bill a finished run, or every finished scenario of a sweep, anew. Returns the new folder.

    `words` are `prices=NAME` (a file of conf/prices; without it the run's own prices), `prices/overhead=NAME` (a file
    of conf/prices/overhead), `prices.key=value` for a key that the list has, and `+prices.key=value` for one that it
    may lack; `by` names keys of BY. With `by`, `words` may be empty. `names` are the digests of the scenarios wanted;
    None: all of the study (see `members_of`).
    A scenario that the list cannot price becomes a failed row; raises ConfigError, with nothing written, if none can.
    """
    runs = _finished_runs(output, names)
    asked = _read_words(words, may_be_none=bool(by))
    named = _named(asked, config_dir)
    folder = within(output, "repriced", asked.folder_name)
    require_writable(folder)
    done: dict[Path, dict[str, Any] | ConfigError] = {}
    for run in runs:
        try:
            done[run] = _priced(run, _with_prices(run, named, asked), by)
        except ConfigError as error:
            done[run] = error
    errors = [outcome for outcome in done.values() if isinstance(outcome, ConfigError)]
    if len(errors) == len(done):
        raise errors[0]
    for run, outcome in done.items():
        _write(run, folder if run == output else within(folder, run.name), outcome)
    if runs != [output]:
        write_manifest(folder, Manifest(digests=_priced_or_missing(output, runs)))
    return folder


def _finished_runs(output: Path, names: Sequence[str] | None) -> list[Path]:
    listed = [output] if is_run(output) else [output / name for name in members_of(output, names).rows]
    rows = {run: read_row(run) for run in listed}
    runs = [run for run, row in rows.items() if row is not None and row.status == "ok" and is_run(run)]
    if not runs:
        raise ConfigError(f"{output}: is not the folder of a finished run or sweep")
    return runs


def _priced_or_missing(output: Path, runs: list[Path]) -> list[str]:
    """The digests of a study's scenarios except failed ones. Scenarios not yet played stay in the list, so that the
    re-priced table says that they are missing."""
    priced = {digest_in(run.name): None for run in runs}
    played = {name for name, folder in folders_in(output).items() if (folder / ROW).is_file()}
    listed = [name for name in scenarios_of(output) if name in priced or name not in played]
    return list(dict.fromkeys([*listed, *priced]))


class _Request(NamedTuple):
    """What was asked for: a price list and an overhead by name, and changed keys; `added` may be new ones."""

    listed: str | None
    overhead: str | None
    changes: dict[str, Any]
    added: frozenset[str]

    @property
    def folder_name(self) -> str:
        parts = [part for part in (self.listed, self.overhead) if part] or ["changed" if self.changes else "unchanged"]
        if self.changes:
            parts.append(hashlib.sha256(repr(sorted(self.changes.items())).encode()).hexdigest()[:6])
        return "-".join(parts)


def _read_words(words: Sequence[str], may_be_none: bool) -> _Request:
    found: dict[str, Any] = {}
    added = set()
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = override.get_key_element().lstrip("+")
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: one value at a time")
        if key not in ("prices", "prices/overhead") and not key.startswith("prices."):
            raise ConfigError(f"{override.input_line}: only prices can be changed after a run")
        found[key] = override.value()
        if override.is_add() or override.is_force_add():
            added.add(key)
    if not found and not may_be_none:
        raise ConfigError("say which prices: prices=NAME or prices.key=value")
    return _Request(found.pop("prices", None), found.pop("prices/overhead", None), found, frozenset(added))


def _named(asked: _Request, config_dir: Path | None) -> dict[str, Any]:
    """The price list and the overhead that were asked for by name, as composed from the config groups."""
    words = [f"prices={asked.listed}"] if asked.listed else []
    words += [f"+prices/overhead={asked.overhead}"] if asked.overhead else []
    prices: Any = OmegaConf.to_container(composed(words, config_dir).prices)
    kept = {} if asked.listed is None else {"prices": prices}
    return kept | ({} if asked.overhead is None else {"prices.overhead": prices["overhead"]})


def _changed(prices: Any, named: dict[str, Any], asked: _Request) -> dict[str, Any]:
    tree = OmegaConf.create({"prices": prices})
    for key, value in named.items():
        OmegaConf.update(tree, key, value, merge=False)
    for key, value in asked.changes.items():
        if key not in asked.added:
            _require_known(tree, key)
        OmegaConf.update(tree, key, value, merge=False)
    return plain(tree)["prices"]


def _require_known(tree: DictConfig, key: str) -> None:
    """Raise ConfigError, with the keys near it, if `key` is not in the tree: a mistyped price would change nothing."""
    absent = object()
    if OmegaConf.select(tree, key, default=absent) is not absent:
        return
    parent, _, last = key.rpartition(".")
    while parent and not OmegaConf.is_config(OmegaConf.select(tree, parent)):
        parent, _, last = parent.rpartition(".")
    siblings = [str(name) for name in OmegaConf.select(tree, parent)]
    near = difflib.get_close_matches(last, siblings, n=3) or siblings
    hint = f"; +{key}=... would add it" if key == f"{parent}.{last}" else ""
    raise ConfigError(f"{key}: is not in the price list; {parent} has {', '.join(near)}{hint}")


def _with_prices(run: Path, named: dict[str, Any], asked: _Request) -> dict[str, Any]:
    """The configuration of a run with the prices that were asked for. Raises ConfigError if it has none that is one."""
    config = read_config(run)
    if config is None or not isinstance(config.get("prices"), dict):
        raise ConfigError(f"{run / CONFIG}: is not the configuration of a finished run")
    try:
        return config | {"prices": _changed(config["prices"], named, asked)}
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error).removeprefix("error: ")) from None


def _priced(run: Path, config: dict[str, Any], by: Sequence[str]) -> dict[str, Any]:
    prices = parse_config(_Priced, {"prices": config["prices"]}).prices
    own = parse_config(_Priced, {"prices": (read_config(run) or config)["prices"]}).prices
    if prices.api != own.api and _has_budget(config.get("routing")):
        raise ConfigError(
            "prices.api: routing.budget was kept at the run's own prices, at others it would have sent other requests "
            "to the API; run it again with these prices, or change those of the GPUs alone"
        )
    gpu, model, usages = read_usages(run)
    each = read_replications(run)
    if each is None or len(each) != len(usages):
        raise ConfigError(f"{run / REPLICATIONS}: must have the {len(usages)} replications of {USAGE}")
    try:
        bills = [bill(usage, prices, gpu, model) for usage in usages]
        figures = [
            money(lines, usage) | money_by_application(usage, prices, gpu, model)
            for lines, usage in zip(bills, usages, strict=True)
        ]
        parts = {f"bill_by_{name}.csv": [BY[name](usage, prices, gpu, model) for usage in usages] for name in by}
        merged = [row | new | repriced(row, own.gpu, prices.gpu, gpu) for row, new in zip(each, figures, strict=True)]
        pooled = over_replications(merged, confidence=confidence_of(config.get("replications", 1)))
    except DAMAGED as error:
        raise ConfigError(f"{run}: cannot be billed anew, its files are damaged ({in_short(error)})") from None
    money_keys = {name for key in (*figures[0], *KEYS) for name in (key, key + CI_SUFFIX)}
    after = {key: value for key, value in pooled.items() if key in money_keys}
    lists = price_lists(prices, {pool.name: pool.gpu or "" for pool in usages[0].pools}, model)
    return {"config": config, "bills": bills, "each": merged, "after": after, "parts": parts, "lists": lists}


def _has_budget(routing: Any) -> bool:
    """Whether a router, or one within it, spends dollars at the API up to a limit."""
    if not isinstance(routing, dict):
        return False
    return isinstance(routing.get("budget"), dict) or any(_has_budget(part) for part in routing.values())


def _write(run: Path, folder: Path, outcome: dict[str, Any] | ConfigError) -> None:
    saved = read_row(run)
    assert saved is not None  # as `_finished_runs` found
    row = saved.model_dump(exclude={"before"})
    if not isinstance(outcome, ConfigError):
        row["setting"] = saved.setting | {key: words for key, words in outcome["lists"].items() if key in saved.setting}
    if isinstance(outcome, ConfigError):
        error = one_line(outcome).removeprefix("error: ")
        write_json(folder / ROW, row | {"status": "failed", "error": error, "summary": {}})
        return
    before = saved.summary
    after = before | outcome["after"]
    write_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(outcome["config"])))
    for name, bills in ({BILL: outcome["bills"]} | outcome["parts"]).items():
        write_text(folder / name, bills_text(bills))
    write_json(folder / REPLICATIONS, outcome["each"])
    write_json(folder / SUMMARY, {k: None if v == "inf" else v for k, v in after.items()} | read_beside(run))
    write_json(folder / ROW, row | {"summary": after, "before": {key: before.get(key) for key in SHOWN}})


def write_and_print(folder: Path) -> bool:
    """Print the bills before and after and the verdicts at the new prices; write a sweep's table.

    True if all scenarios could be priced.
    """
    if not (folder / MANIFEST).is_file():
        row = read_row(folder)
        assert row is not None  # as just written
        screen.print_lines(setting_lines(row.setting))
        _print_before_and_after([("", row)])
        return True
    members = members_of(folder)
    screen.print_lines(setting(members, folder).lines)
    table = table_of(members, folder)
    write_table(table, folder)
    named = labelled(table, folder)
    _print_before_and_after(list(zip(named[GROUP] + " " + named[LABEL], members.rows.values(), strict=True)))
    lacking = missing(folder, table["digest"])
    if lacking:
        print(lacking)
    screen.print_lines(verdicts(named, replications(named, folder), GROUP, LABEL, complete=not lacking))
    return bool((table["status"] == "ok").all())


def _print_before_and_after(rows: list[tuple[str, Row]]) -> None:
    """A line for each run: what it cost and costs now; its label above it where not all would fit on one line."""
    cells = {
        key: [
            f"{usd(row.before.get(key))} -> {usd(row.summary.get(key))}" if row.status == "ok" else ""
            for _, row in rows
        ]
        for key in SHOWN
    }
    widths = {key: max(len(key), *map(len, own)) + 2 for key, own in cells.items()}
    columns = screen.width()
    shown = [key for n, key in enumerate(SHOWN) if sum(widths[k] for k in SHOWN[: n + 1]) <= columns - 2]
    longest = max(len(printable(label)) for label, _ in rows)
    is_beside = longest + sum(widths[key] for key in shown) <= columns
    beside = longest if is_beside else 2
    print(" " * beside + "".join(f"{key:>{widths[key]}}" for key in shown))
    for n, (label, row) in enumerate(rows):
        figures = "".join(f"{cells[key][n]:>{widths[key]}}" for key in shown)
        text = figures if row.status == "ok" else f"  failed: {printable(str(row.error))}"
        if not is_beside:
            screen.print_lines([label] if label else [])
        print(f"{printable(label) if is_beside else '':{beside}}{text}")
    if len(shown) < len(SHOWN):
        print(f"not shown, for want of width: {', '.join(SHOWN[len(shown) :])}")
