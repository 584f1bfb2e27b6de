"""Which scenarios of a folder the table of a study has: those of its last sweep, then what earlier sweeps finished.

A study accumulates: a fleet that is added to it is compared with all fleets in it. Two kinds of earlier scenarios are
left out, since the same words would give other numbers today: those that another version of the program played, and
those whose words were given again after a file, a configuration or a class that they name had changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sim.schema import ConfigError
from sim.study.folder import ROW, is_finished
from sim.study.manifest import Manifest, read_manifest, unfinished_shards
from sim.study.saved import Row, read_row, within
from sim.study.scenario_folders import by_number, digest_in, folders_in


@dataclass(frozen=True)
class Members:
    """The scenarios of a study that have a row, by the name of their folder; how many others there are."""

    rows: Mapping[str, Row]
    n_earlier: int = 0
    """Of these, the last ones: they are of earlier sweeps."""
    n_of_other_programs: int = 0
    n_superseded: int = 0
    """Finished scenarios that are left out, as their words were given again."""
    damaged: Sequence[str] = ()
    """Names of folders whose row cannot be read."""

    def notes(self) -> Iterator[str]:
        """What a reader of the table should know of the folder."""
        if self.n_earlier:
            played = "played by earlier sweeps into this folder; output.study=NAME begins another"
            yield f"{self.n_earlier} of {len(self.rows)} scenarios: {played}"
        if self.n_of_other_programs:
            yield f"left out, {self.n_of_other_programs} of the folder: played by another version of the program"
        if self.n_superseded:
            changed = "the same words were given again after a file or a class behind them had changed"
            yield f"left out, {self.n_superseded} of the folder: {changed}"
        for name in self.damaged:
            yield f"left out, {name}: its row.json cannot be read; the command that played it plays it again"


def members_of(folder: Path, names: Sequence[str] | None = None, last: Manifest | None = None) -> Members:
    """The scenarios of a study: those of its last sweep in their order, then by name what earlier sweeps finished.

    `names` are the digests of the scenarios wanted, in this order. Where nothing says what the last sweep was, every
    row of the folder counts. `last` is the record of the sweep that asks, in place of which another, still under way,
    may have left its own. Raises ConfigError for a row that is of another folder, and for a link.
    """
    known = folders_in(folder)
    manifest = (last or read_manifest(folder)) if names is None else None
    listed = names if manifest is None else manifest.digests
    rows = _rows([known[name] for name in listed or known if name in known])
    if names is None:
        damaged = [path.name for path in known.values() if (path / ROW).is_file() and read_row(path) is None]
        return replace(_members(rows, manifest, known), damaged=sorted(damaged, key=by_number))
    return Members(rows)


def _members(rows: Mapping[str, Row], manifest: Manifest | None, known: Mapping[str, Path]) -> Members:
    if manifest is None or not manifest.digests or manifest.program is None:  # as of re-pricing, which does not add up
        return Members(rows)
    return _with_earlier(rows, manifest, {path.name: path for path in known.values() if path.name not in rows})


def _rows(folders: Iterable[Path]) -> dict[str, Row]:
    found = {}
    for folder in folders:
        within(folder.parent, folder.name)
        row = read_row(folder)
        if row is not None and row.digest != digest_in(folder.name):
            raise ConfigError(f"{folder / ROW}: is the row of another folder")
        if row is not None:
            found[folder.name] = row
    return found


def _with_earlier(rows: Mapping[str, Row], manifest: Manifest, others: Mapping[str, Path]) -> Members:
    """The rows of the last sweep and, of the other folders of the study, given by name, what still holds.

    A folder whose row is of another one, as a copy that somebody made, is none of the study.
    """
    own_rows = (path for path in others.values() if (row := read_row(path)) and row.digest == digest_in(path.name))
    found = _rows(own_rows)
    finished = {name: row for name, row in found.items() if row.status == "ok" and is_finished(others[name])}
    own = [name for name, row in finished.items() if row.program == manifest.program]
    given, current = {_words(row) for row in rows.values()}, []
    for name in sorted(own, key=lambda name: others[name].stat().st_mtime_ns, reverse=True):
        words = _words(finished[name])
        if words not in given:
            given.add(words)
            current.append(name)
    earlier = {name: finished[name] for name in sorted(current, key=by_number)}
    return Members({**rows, **earlier}, len(earlier), len(finished) - len(own), len(own) - len(earlier))


def _words(row: Row) -> frozenset[tuple[str, str]]:
    """What was given, but for where results go and what is drawn of them."""
    return frozenset((key, value) for key, value in row.overrides.items() if not key.startswith("output."))


def scenarios_of(folder: Path) -> list[str]:
    """The digests of all scenarios of a study's last sweep, played or not; empty if they are not on record."""
    manifest = read_manifest(folder)
    return [] if manifest is None else manifest.digests


def missing(folder: Path, played: Sequence[str], last: Manifest | None = None) -> str:
    """A line on the scenarios of a study that have no row because the sweep was cut short; '' if all have one.

    `played` are the digests of those that have one; `last` as for `members_of`.
    """
    manifest = last or read_manifest(folder)
    if manifest is None:
        return ""
    lacking, n_unknown = set(manifest.digests) - set(played), manifest.n_unknown
    if not lacking and not n_unknown:
        return ""
    shards = unfinished_shards(folder, lacking)
    named = f" (shard {', '.join(map(str, shards))})" if shards else ""
    counted = f"{len(lacking) + n_unknown} of {len(manifest.digests) + n_unknown} scenarios are missing"
    return f"{counted}: the sweep has not come to its end{named}"
