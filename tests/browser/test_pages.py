"""Pages in a real Chromium with the network off: silent, accessible, readable, sorted, filtered, zoomed and printed."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import time
from pathlib import Path

import pytest

from sim.page.write import write_page
from tests.saved_results import one_of_each

pytest.importorskip("websocket", reason="NO websocket-client: pages are not looked at in a browser")
from tests.browser.chromium import PROGRAM, Chromium  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="NO CHROMIUM: pages are not looked at; apt-get install chromium"),
]
AXE = Path(__file__).with_name("axe") / "axe-4.14.1.min.js.gz"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # of the file in the npm package
PAPER_PX = 688
"""Width of what is printed on A4 between the margins."""
KINDS = ("decision", "sweep", "run", "described", "agents")

OVERLAPPING = """(() => {
  const found = [];
  for (const svg of document.querySelectorAll('svg[role=img]')) {
    const frame = svg.getBoundingClientRect();
    if (!frame.width) continue;
    const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    for (const [name, box] of boxes)
      if (box.left < frame.left - 2 || box.right > frame.right + 2
          || box.bottom > frame.bottom + 3 || box.top < frame.top - 2)
        found.push(`"${name}" leaves its drawing`);
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
      const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (across > 2 && down > 4) found.push(`"${a}" and "${b}"`);
    }));
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return {kind: write_page(folder) for kind, folder in one_of_each(tmp_path_factory.mktemp("pages")).items()}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def axe():
    source = gzip.decompress(AXE.read_bytes())
    assert hashlib.sha256(source).hexdigest() == AXE_SHA256
    return source.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_loads_in_silence_fits_and_hides_nothing(browser, pages, kind):
    for width, dark in ((1100, False), (320, True)):
        browser.look(width, dark)
        browser.open(pages[kind])
        assert browser.heard == []
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(OVERLAPPING) == []


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_with_every_table_open_nor_in_the_dark_on_a_phone(browser, pages, axe, kind):
    for width, dark, rules in ((1100, False, "{}"), (320, True, "{runOnly: ['color-contrast', 'target-size']}")):
        browser.look(width, dark)
        browser.open(pages[kind])
        if not dark:
            browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        browser.run(axe + ";0")
        found = browser.run(f"axe.run({rules}).then(r => r.violations)")
        assert [(v["id"], [node["html"][:120] for node in v["nodes"]][:3]) for v in found] == []


def test_a_planted_fault_is_found(browser, pages, axe):
    browser.look()
    browser.open(pages["sweep"])
    browser.run("document.querySelector('svg[role=img] title').remove(); document.querySelector('h1').id = 'verdicts'")
    browser.run("console.log('a message'); document.querySelector('svg.wide text').setAttribute('x', -500)")
    browser.run(axe + ";0")
    assert "svg-img-alt" in browser.run("axe.run().then(r => r.violations.map(v => v.id))")
    assert browser.heard and browser.run(OVERLAPPING)


def test_rows_are_sorted_by_the_keyboard_and_filtered_by_what_is_typed(browser, pages):
    browser.look()
    browser.open(pages["sweep"])
    column = (
        "[...document.querySelectorAll('table.sortable tbody tr:not([hidden])')].map(r => r.cells[1].dataset.value)"
    )
    browser.run("document.querySelectorAll('table.sortable thead button')[1].focus()")
    for order in (1, -1):
        browser.press("Enter", 13, "\r")
        costs = [float(value) for value in browser.run(column)]
        assert len(costs) == 3 and costs == sorted(costs, reverse=order < 0)
    assert browser.run("document.querySelectorAll('th[aria-sort=descending]').length") == 1
    browser.run("document.querySelector('.filter input').focus()")
    browser.call("Input.insertText", text="api_ONLY")
    assert (
        len(browser.run(column)) == 1
        and browser.run("document.querySelector('[role=status]').textContent") == "1 of 3 rows"
    )
    assert browser.heard == []


def test_the_rows_that_are_shown_are_saved_as_csv_without_formulas(browser, pages, tmp_path):
    browser.look()
    browser.open(pages["decision"])
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("document.querySelector('.filter input').focus()")
    browser.call("Input.insertText", text="scale_to_zero")
    browser.run("document.querySelector('.filter button').click()")
    end_s = time.monotonic() + 10
    while not (found := list(tmp_path.glob("scenarios*.csv"))) and time.monotonic() < end_s:
        time.sleep(0.05)
    heads, row = list(csv.reader(found[0].read_text().splitlines()))
    assert heads[:2] == ["fleet", "cost USD a month"] and row[:2] == ["'=too small", "938.4"]
    assert browser.heard == []


def test_a_course_is_zoomed_by_buttons_and_by_the_mouse(browser, pages):
    browser.look()
    browser.open(pages["run"])
    length = "(s => s.max - s.min)(document.querySelector('.zoomable').plot.scales.x)"
    press = "document.querySelectorAll('.zoomable .zoom-buttons button')[{}].click()"
    whole = browser.run(length)
    browser.run(press.format(0))
    assert browser.run(length) == pytest.approx(whole / 2)
    browser.run(press.format(4))
    assert browser.run(length) == pytest.approx(whole)
    x, y, width = browser.run(
        "(p => { p.scrollIntoView({block: 'center'}); const b = p.getBoundingClientRect(); "
        "return [b.x, b.y, b.width]; })(document.querySelector('.zoomable .u-over'))"
    )
    browser.drag((x + 0.25 * width, y + 50), (x + 0.5 * width, y + 50))
    assert browser.run(length) == pytest.approx(whole / 4, rel=0.02)
    assert browser.heard == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_prints_on_six_sheets_or_fewer(browser, pages, kind):
    browser.look()
    browser.open(pages[kind])
    sheets = len(re.findall(rb"/Type\s*/Page\b(?!s)", browser.printed()))
    assert 1 <= sheets <= 6
    browser.look(PAPER_PX, media="print")
    assert browser.run("document.documentElement.scrollWidth") <= PAPER_PX, "what is wider is cut off"
    assert browser.run("getComputedStyle(document.querySelector('main')).display") != "none"
    assert browser.run(OVERLAPPING) == []


@pytest.mark.parametrize("kind", KINDS)
def test_without_javascript_everything_is_there(browser, pages, kind):
    browser.look()
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages[kind])
        assert browser.heard == []
        tree = json.dumps(browser.call("Accessibility.getFullAXTree")["nodes"])
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert '"heading"' in tree and '"image"' in tree and "The numbers of" in tree and "Zoom in" not in tree
    assert "Download" in tree or kind == "described"
