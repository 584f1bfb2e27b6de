"""A page is one file that needs nothing, says what was saved, and believes no name that is in it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import sim
import sim.page
from sim.__main__ import main
from sim.page.render import html
from sim.page.saved.decision import read_decision
from sim.page.saved.run import SavedRun, read_run
from sim.page.sections.bill import steps
from sim.page.sections.worst_hour import worst_hour
from sim.page.svg.canvas import Canvas, lines_of, width_of
from sim.page.svg.plot import Plot
from sim.page.svg.points import Point, points
from sim.page.svg.scale import decades, nines, up_to
from sim.page.write import page_of, write_page
from sim.records import ReplicaState
from sim.report.style import DARK, LIGHT, PAPER
from sim.schema import ConfigError
from sim.workload.logs.sample_log import write_sample_log
from tests.saved_results import HOSTILE, agents, decision, sweep
from tests.unit.cli import TINY

LEAST = 3.0
"""Contrast of what is not text with its background (WCAG 2.2, 1.4.11)."""


class Seen(HTMLParser):
    """The elements and texts of a page, as a browser without JavaScript would find them."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "wbr", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def decided(tmp_path):
    (tmp_path / "decision.json").write_text(json.dumps(decision()))
    return tmp_path


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("outputs"))


def run_of(played):
    return played.folder / played.frame["folder"][0]


def contained(text):
    """Every check that holds for every page."""
    seen = Seen(text)
    assert not seen.open and len(text.encode()) < 1_000_000
    policy = next(m["content"] for m in seen.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    for tag in ("style", "script"):
        for content in re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL):
            assert base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() in policy
    assert all(attrs.get("type") == "application/json" for attrs in seen.all("script") if attrs)
    for name, attrs in seen.elements:
        assert not {key for key in attrs if key.startswith("on") or key in ("style", "src")}, f"{name}: {attrs}"
        assert name not in ("link", "img", "iframe", "object", "form", "base")
    links = [attrs["href"] for attrs in seen.all("a")]
    ids = [attrs["id"] for _, attrs in seen.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(link.startswith("data:") or link.removeprefix("#") in ids for link in links)
    drawings = [attrs for attrs in seen.all("svg") if attrs.get("role") == "img"]
    assert len(drawings) == text.count("</title><desc>") and len(drawings) % 2 == 0
    return seen


def test_the_page_of_a_decision_says_it_in_order_and_needs_nothing(decided):
    text = html(page_of(decided))
    seen = contained(text)
    order = [attrs["id"] for attrs in seen.all("section")]
    assert order == ["flips", "error-budget", "frontier", "break-even", "scenarios", "rests-on"]
    said = " ".join(seen.texts)
    assert "The runner-up, the API alone, costs $359 a month more (resolved: $350 to $368)" in said
    nearest = "prices.api.models.llama_3_1_8b.usd_per_mtok_input"
    assert f"turns first if {nearest} goes from 0.180 to 0.0900 (−50.0 %)" in said
    assert "2 of 4 fleets that were played meet the SLO" in said and "wins in 15 of 20 worlds" in said
    assert "cold-start time: not looked at, as no finalist starts replicas" in said


def test_a_hostile_name_is_text_wherever_it_stands(decided):
    text = html(page_of(decided))
    seen = contained(text)
    assert text.count("<script>alert") == 0 and "49" not in [t.strip() for t in seen.texts]
    assert len([t for t in seen.texts if HOSTILE in t]) >= 4


def test_a_name_in_the_curves_of_a_run_ends_no_script(played, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_of(played), folder)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + f"\nname: {json.dumps(HOSTILE)}\n")
    contained(html(page_of(folder)))


def test_beside_hindsight_needs_and_regret_add_up_to_the_gpus_bill(played, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_of(played), folder)
    summary = json.loads((folder / "summary.json").read_text())
    paid = summary["usd_gpu"]
    parts = {"hindsight": (0.5, 0.3, 0.05), "regret": (0.5, 0.1, 0.25)}
    for kind, shares in parts.items():
        names = ("usd", "work_usd" if kind == "hindsight" else "cold_start_usd",
                 "cold_start_usd" if kind == "hindsight" else "idle_usd")  # fmt: skip
        summary |= {f"{kind}_{name}": share * paid for name, share in zip(names, shares, strict=True)}
    (folder / "summary.json").write_text(json.dumps(summary))
    section = {s.key: s for s in page_of(folder).sections}["regret"]
    shares = [row[2].value for row in section.figures[0].data.rows]
    assert shares == pytest.approx([0.3, 0.15, 0.05, 0.1, 0.25, 0.15])


def test_the_page_of_a_run_shows_its_bill_use_worst_hour_and_course(played):
    seen = contained(html(page_of(run_of(played))))
    order = [attrs["id"] for attrs in seen.all("section")]
    expected = ["figures", "bill", "use", "worst-hour", "timeline", "traffic", "rests-on"]
    assert [key for key in order if key != "regret"] == expected
    curves = [attrs for attrs in seen.all("script") if attrs.get("class") == "curves"]
    assert len(curves) == 3 and "in all, a month" in seen.texts


def test_the_bill_of_a_page_adds_up_to_the_months_cost(played):
    run = read_run(run_of(played))
    found = steps(run)
    assert sum(step.usd for step in found) == pytest.approx(run.summary["usd_per_month"], rel=1e-9)
    paid = run.usd_by_item["gpu busy"] + run.usd_by_item.get("gpu draining", 0.0)
    at_work = [step.usd for step in found if step.label.startswith(("the work", "headroom"))]
    assert sum(at_work) == pytest.approx(paid * run.month_per_window, rel=1e-9)


def saved_run(requests, spans):
    """A run of four hours whose tables are given; all requests go to the fleet."""
    n = len(requests["arrived_s"])
    filled = {"outcome": np.zeros(n, int), "backend": np.zeros(n, int), "task_arrived_s": requests["arrived_s"]}
    finished_s = requests["first_token_s"] + 1.0
    filled |= {"finished_s": finished_s, "admitted_s": requests["first_token_s"], "output_tokens": np.full(n, 2)}
    config = {"slo": {"ttft_s": 2.0}, "scaling": {"kind": "keda"}}
    run = SavedRun(Path("run"), config, {"window_s": 14400.0}, {}, False, "")
    run.__dict__.update(requests=filled | requests, spans=spans)  # in place of the files
    return run


def test_the_worst_hour_is_the_one_with_the_most_misses_and_shows_what_the_scaler_did_in_it():
    arrived_s = np.arange(0.0, 14400.0, 60.0)
    late = (arrived_s >= 8000) & (arrived_s < 9500)
    requests = {"arrived_s": arrived_s, "first_token_s": arrived_s + np.where(late, 60.0, 0.5)}
    start, idle, busy = ReplicaState.WEIGHTS, ReplicaState.IDLE, ReplicaState.BUSY
    spans = {
        "replica_id": np.array([0, 1, 1, 0]), "state": np.array([busy, start, busy, idle]),
        "start_s": np.array([0.0, 8100.0, 8160.0, 9000.0]), "end_s": np.array([9000.0, 8160.0, 8900.0, 14400.0]),
    }  # fmt: skip
    run = saved_run(requests, spans)
    section = worst_hour(run)
    assert f"{late.sum()} of 60 requests missed the SLO" in section.sentences[0]
    told = [row[1].text for row in section.grids[0].rows]
    assert told == ["ordered replica 1", "replica 1 was ready", "released replica 1"]
    waiting, working, existing = ([row[i].value for row in section.grids[0].rows] for i in (2, 3, 4))
    assert waiting == [1, 1, 1] and working == [1, 2, 1] and existing == [2, 2, 1]
    assert section.notes == ("The rule behind the decisions: keda.",)
    # Of two applications one may wait for longer: its calls do not miss an SLO that it does not have.
    patient = np.arange(len(arrived_s)) % 2
    slos = {"chat": {"slo": None}, "coding": {"slo": {"ttft_s": 90.0}}}
    run_of_all = run.requests
    run = replace(run, config=run.config | {"applications": slos})
    run.__dict__.update(requests=run_of_all | {"application": patient}, spans=spans)
    assert f"{(late & (patient == 0)).sum()} of 60 requests missed" in worst_hour(run).sentences[0]


def test_a_replication_without_a_request_has_a_bill_of_nothing(tmp_path):
    (tmp_path / "bill.csv").write_text("replication,item,usd\n1,api input,6.0\n")
    assert SavedRun(tmp_path, {}, {"replications": 3}, {}, False, "").usd_by_item == {"api input": 2.0}


def test_the_page_of_a_sweep_has_every_scenario_and_its_command(played):
    seen = contained(html(page_of(played.folder)))
    said = " ".join(seen.texts)
    for fleet in ("hybrid_overflow", "api_only", "scale_to_zero"):
        assert f"fleet={fleet}" in said
    assert len([attrs for attrs in seen.all("table") if attrs.get("class") == "sortable"]) == 1
    csv = next(attrs["href"] for attrs in seen.all("a") if attrs.get("download") == "results.csv")
    lines = base64.b64decode(csv.partition(",")[2]).decode().splitlines()
    assert len(lines) == 4 and {"fleet", "usd_total"} <= set(lines[0].split(","))


def test_a_sweep_writes_its_page_unless_told_not_to(play, tmp_path):
    words = ["-m", *TINY, "gpu=l4,l40s", "horizon_s=120", "hydra/launcher=basic", "output.study=two"]
    page = Path("outputs") / "two" / "page.html"
    without = play(*words, "output.page=false")
    assert without.code == 0 and not (tmp_path / page).exists() and "page" not in without.out
    said = play(*words)
    assert said.out.splitlines()[-1] == f"-> {page}" and contained((tmp_path / page).read_text())
    assert said.out.splitlines()[:-1] == without.out.splitlines(), "nothing was played again"


def test_the_page_of_a_sweep_of_one_log_describes_it(tmp_path):
    write_sample_log(str(tmp_path / "my.csv"), 150, 1)
    base = sim.scenario("arrivals=replay", **{"arrivals.path": str(tmp_path / "my.csv")})
    table = sim.sweep(base, gpu=["l4", "l40s"], study="of_a_log", outputs=tmp_path, n_jobs=1)
    sections = {section.key: section for section in page_of(table.folder).sections}
    assert ("150", "requests") in sections["traffic"].facts
    (tmp_path / "my.csv").unlink()
    assert "traffic" not in {section.key for section in page_of(table.folder).sections}


def test_the_page_of_a_bill_of_agents_sets_its_rows_beside_the_first(tmp_path):
    (tmp_path / "agents.json").write_text(json.dumps(agents()))
    page = page_of(tmp_path)
    seen = contained(html(page))
    assert [attrs["id"] for attrs in seen.all("section")] == ["costs", "asked", "rests-on"]
    costs = page.sections[0]
    assert costs.figures[0].title == "The same sessions cost $0.0500 to $2.50 a task", (
        "of those that do all of the work"
    )
    assert [row[4].value for row in costs.grids[0].rows] == pytest.approx([1, 2.5 / 0.06, None, 5 / 6])
    assert costs.notes == ("with qwen3_32b: API: 65 % of tasks come to their end.",)
    (tmp_path / "agents.json").write_text(json.dumps(agents(rows=[])))
    with pytest.raises(ConfigError, match="holds no rows"):
        page_of(tmp_path)


def test_the_same_results_give_the_same_bytes(played, decided):
    for folder in (run_of(played), played.folder, decided):
        path = write_page(folder)
        first = path.read_bytes()
        assert write_page(folder).read_bytes() == first


def test_without_a_winner_the_page_says_what_would_give(tmp_path):
    cost = {"mean": 10.0, "low": None, "high": None}
    relaxed = [{"what": "all time limits x 1.25", "words": ["gpu=l4"], "usd_per_month": cost}]
    none = dict.fromkeys(("winner", "runner_up", "difference_usd_per_month")) | {"finalists": [], "flips": []}
    (tmp_path / "decision.json").write_text(json.dumps(decision(**none, relaxations=relaxed)))
    seen = contained(html(page_of(tmp_path)))
    assert "all time limits x 1.25: $10.00 a month." in seen.texts


def test_a_decision_among_hundreds_of_fleets_is_light_and_leaves_its_file_in_the_folder(tmp_path):
    words = "llm-traffic-sim run arrivals=replay arrivals.path=outputs/a_log.csv engine.weight_dtype=fp8 gpu=h100_sxm"
    share = {"mean": 0.995, "low": 0.993, "high": 0.997, "replications": 11}
    alike = {"kind": "scale to zero", "slo_attainment_fraction": share, "slo_judgement": "meets"}
    many = [
        alike | {"name": f"{n} x 8 x h100_sxm in fp8 (runpod_serverless_flex)", "command": f"{words} x={n}"}
        | {"usd_per_month": share | {"mean": 1000.0 + n}}
        for n in range(600)
    ]  # fmt: skip
    left_out = [{"name": f"always on, {n} x b200 in fp8", "reason": "costs more on paper"} for n in range(500)]
    (tmp_path / "decision.json").write_text(json.dumps(decision(scenarios=many, left_out=left_out)))
    seen = contained(html(page_of(tmp_path)))
    assert not [attrs for attrs in seen.all("a") if "download" in attrs]
    rest = next(section for section in page_of(tmp_path).sections if section.key == "rests-on")
    assert [row[1].value for row in rest.grids[-1].rows] == [500]


@pytest.mark.parametrize(
    ("content", "said"),
    [("[]", "decision.json"), ('{"sentence": 3}', "sentence"), ("{", "cannot be read"),
     ('{"sentence": "x", "flips": [{"value": 1}]}', "flips.0.key")],
)  # fmt: skip
def test_a_damaged_decision_is_refused_in_one_line(tmp_path, content, said):
    (tmp_path / "decision.json").write_text(content)
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_decision(tmp_path)


def test_a_folder_without_results_is_refused_and_nothing_is_written(tmp_path, capsys):
    assert main(["page", str(tmp_path)]) == 2
    assert "holds no decision" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_ticks_are_round_lie_on_the_axis_and_rise():
    for scale in (up_to(0.37), up_to(938.0), up_to(7.2), decades(0.002, 40.0), nines(0.6)):
        values = [value for value, _ in scale.ticks(6)]
        assert 2 <= len(values) <= 12 and values == sorted(values)
        assert scale.low <= values[0] and values[-1] <= scale.high * (1 + 1e-9)
    assert nines(0.6)(0.99) - nines(0.6)(0.9) == pytest.approx(nines(0.6)(0.999) - nines(0.6)(0.99))
    assert [label for _, label in up_to(7.2).ticks(5)] == ["0", "2", "4", "6", "8"]


def test_texts_of_a_drawing_are_broken_to_fit_and_escaped():
    assert all(width_of(line) <= 200 for line in lines_of("a label of several words " * 4, 200))
    canvas = Canvas(100, 100)
    canvas.text(0, 0, HOSTILE)
    canvas.rect(0, 0, 1, 1, "plain", HOSTILE)
    assert "<script" not in canvas.svg(HOSTILE, HOSTILE, "wide")


def test_a_label_stands_nearest_to_its_own_mark_or_nowhere():
    """Of twenty fleets, crowded on a phone: whose mark is nearest to each label that is written?"""
    rng = np.random.default_rng(1)
    found = [
        Point(1 - 10 ** -float(x), float(y), None, None, "circle", "meets", "", f"fleet {n}")
        for n, (x, y) in enumerate(rng.uniform((0.4, 1.0), (3.0, 9.0), (20, 2)))
    ]  # fmt: skip
    plot = Plot(300, 270, nines(0.5), up_to(10.0), "x", "y")
    drawn = points(300, found, nines(0.5), up_to(10.0), ("x", "y"), None, []).svg("title", "what", "narrow")
    texts = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="name halo"[^>]*>fleet (\d+)<', drawn)
    assert 8 <= len(texts) < 20
    for x, y, number in texts:
        left, middle, width = float(x), float(y) - 4, width_of(f"fleet {number}", is_bold=True)
        from_mark = [
            math.hypot(max(left - plot.x(p.x), plot.x(p.x) - left - width, 0), middle - plot.y(p.y)) for p in found
        ]
        assert from_mark[int(number)] <= min(from_mark) + 9, "or of one that it lies on"


def test_uplot_is_the_published_file():
    folder = Path(sim.page.__file__).parent / "vendor" / "uplot"
    listed = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(listed) == {"uPlot.iife.min.js", "uPlot.min.css", "LICENSE"}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("found", [LIGHT, DARK, PAPER], ids=["light", "dark", "paper"])
def test_text_and_marks_stand_out_from_the_background(found):
    for text in ("ink", "soft", "link"):
        assert contrast(found[text], found["back"]) >= 4.5 and contrast(found[text], found["panel"]) >= 4.5
    for mark in ("c1", "c2", "c3", "grey"):
        assert contrast(found[mark], found["back"]) >= LEAST
