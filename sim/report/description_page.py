"""The card of a log as one HTML page: it needs no network and no script, and follows the reader's light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from sim.report.description_text import Section, length, sections
from sim.report.formatting import number
from sim.workload.description.card import Card

_STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --ink: #1b1f24; --soft: #5a636e; --line: #d6dbe1; --panel: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --back: #11151a; --ink: #e6e9ed; --soft: #a3adb8; --line: #333b45; --panel: #1a2027; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--back); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: .5rem 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.facts div { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .7rem; }
.facts b { display: block; font-size: 1.25rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { font-family: system-ui, sans-serif !important; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
pre { white-space: pre-wrap; background: var(--panel); border: 1px solid var(--line); border-radius: .4rem;
  padding: .6rem; font-size: .85rem; }
"""


def page(
    title: str, card: Card, receipt: Sequence[str], pictures: Mapping[str, str], more: Sequence[Section] = ()
) -> str:
    """The whole page. `pictures`: SVG by caption; `more`: sections after those of the card."""
    drawn = "".join(f"<figure><figcaption>{escape(c)}</figcaption>{svg}</figure>" for c, svg in pictures.items())
    parts = "".join(_section(section) for section in (*more, *sections(card)))
    notes = "".join(f"<p>{escape(note)}</p>" for note in card.notes)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body><main>\n<h1>{escape(title)}</h1>\n{_facts(card)}\n"
        f'<div class="pictures">{drawn}</div>\n{parts}\n'
        f"<h2>What was read</h2>\n<pre>{escape(chr(10).join(receipt))}</pre>\n{notes}\n</main></body></html>\n"
    )


def _facts(card: Card) -> str:
    hour = next((d for d in reversed(card.dispersion) if d.index is not None), None)
    facts = [
        (f"{card.requests:,}", "requests"),
        (length(card.span_s), "span"),
        (number(card.requests_per_s), "requests/s"),
        (number(card.lengths.input.percentiles[50.0]), "median input tokens"),
        (number(card.lengths.output.percentiles[50.0]), "median output tokens"),
    ]
    if card.sessions is not None:
        facts.append((number(card.sessions.calls_per_session.mean), "calls per session"))
    if hour is not None:
        facts.append((number(hour.index), f"dispersion at {length(hour.window_s)} (Poisson: 1)"))
    if card.reuse is not None:
        facts.append((f"{100 * card.reuse.hit_fraction:.0f} %", "prompt tokens seen before"))
    shown = "".join(
        f'<div><b>{escape(value)}</b><span class="soft">{escape(name)}</span></div>' for value, name in facts
    )
    return f'<div class="facts">{shown}</div>'


def _section(section: Section) -> str:
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in section.sentences)
    return f"<section><h2>{escape(section.title)}</h2>{sentences}{_table(section)}</section>\n"


def _table(section: Section) -> str:
    if not section.rows:
        return ""
    head, *body = section.rows
    first = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in body
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{first}</tr></thead><tbody>{rows}</tbody></table></div>'
