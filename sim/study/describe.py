"""`llm-traffic-sim describe LOG`: what a log holds, as text, JSON and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sim.composition import text_of
from sim.report.description_text import as_text
from sim.schema import ConfigError, parse_config
from sim.study.folder import require_writable, write_json
from sim.workload.description.calls import Calls, DescribedLog
from sim.workload.description.card import Card, card_of
from sim.workload.logs.receipt import Receipt

JSON_NAME = "description.json"
_PREFIX = "arrivals."


@dataclass(frozen=True, eq=False)
class Description:
    """A log as it was understood, and the card of its traffic. As text: what the command line prints."""

    options: DescribedLog
    calls: Calls
    card: Card

    @property
    def receipt(self) -> Receipt:
        """What the log was taken for, and what of it was kept."""
        assert self.calls.log.receipt is not None, "every log that is read from a file has one"
        return self.calls.log.receipt

    def __str__(self) -> str:
        return as_text(self.card, self.receipt.lines())

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data: `log`, the receipt, and `traffic`, the card."""
        return {"log": self.receipt.as_dict(), "traffic": self.card.as_dict()}

    def write(self, folder: Path) -> Path:
        """description.json and its page, description.html, each whole or not at all. Returns the page's path.

        Raises ConfigError.
        """
        from sim.page.write import write_page

        require_writable(folder)
        write_json(folder / JSON_NAME, self.as_dict())
        return write_page(folder)


def described_log(path: str, words: Sequence[str]) -> DescribedLog:
    """The log that a path and words (`columns.input=prompt`, also as `arrivals.columns.input=prompt`) name.

    Raises ConfigError for a word that means nothing.
    """
    tree = OmegaConf.create({"path": path})
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = override.get_key_element().lstrip("+").removeprefix(_PREFIX)
        if override.is_sweep_override() or override.is_delete():
            raise ConfigError(f"{override.input_line}: must be key=value, with one value")
        if key in ("path", "kind"):
            raise ConfigError(f"{override.input_line}: the log is named without a key")
        OmegaConf.update(tree, key, override.value(), merge=False, force_add=True)
    return parse_config(DescribedLog, OmegaConf.to_container(tree))


def describe_log(options: DescribedLog) -> Description:
    """Read the log and measure its traffic. Raises TraceError."""
    calls = options.calls()
    return Description(options, calls, card_of(calls))


def describe(path: str | Path, *words: str, **columns: str | list[str]) -> Description:
    """What a request log holds: rate, burstiness, token lengths, sessions, prefix reuse.

    `words` as on the command line, such as `"time.unit=ms"` or `"start_s=3600"`; `columns` say which column plays which
    role where the format does not know. The answer prints as text; `.card` is typed data, `.write(folder)` makes a page
    of it. Raises ConfigError for words that mean nothing, TraceError for a log that cannot be read.

    >>> import sim
    >>> from pathlib import Path
    >>> _ = Path("my.csv").write_text("sent_s,prompt,answer\\n0,100,10\\n2,300,30\\n4,200,20\\n")
    >>> found = sim.describe("my.csv", arrived="sent_s", input="prompt", output="answer")
    >>> found.card.requests, found.card.lengths.input.mean, found.card.requests_per_s
    (3, 200.0, 0.5)
    """
    told = [text_of(f"columns.{role}", names) for role, names in columns.items()]
    return describe_log(described_log(str(path), [*words, *told]))
