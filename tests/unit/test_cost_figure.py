"""The picture of a sweep: its frontier, names that hide nothing, a key where they would, and what all share."""

import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from sim.page.sections.frontier import Fleet, frontier
from sim.report.cost_figure import cost_against_tail_latency
from sim.report.frontier import frontier_of, steps
from sim.report.labels import Label, place_labels
from sim.report.style import LIMIT
from tests.unit.sweeps import INF, WORLD, run, sweep

SETTING = ("model: llama_3_1_8b", "SLO: TTFT ≤ 2 s, for 99 % of calls", "GPU prices: a list, 2026-03", "window: 1 h")


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws a table and returns its figure, which has an Agg canvas, without a file."""
    figures = []
    monkeypatch.setattr("sim.report.cost_figure.save", lambda figure, path: figures.append(figure))

    def draw(table, **more):
        cost_against_tail_latency(table, tmp_path / "never.png", slo_ttft_s=2.0, setting=SETTING, **more)
        return figures[-1]

    return draw


def of_a_month(usd, ttft_s, **more):
    return run(usd, ttft_s=ttft_s, usd_per_month=4 * usd, attained=0.995 if ttft_s < 2 else 0.8, **more)


def world(seed, n_panels, n, name="gpu=l4, scaling.n_replicas={}, fleet_{}"):
    """Fleets of any cost and latency, some of them on each other."""
    rng = np.random.default_rng(seed)
    cells = {}
    for panel in range(n_panels):
        for i in range(n):
            ttft_s = INF if rng.random() < 0.15 else float(10 ** rng.uniform(-1.5, 1.5))
            usd = float(rng.choice([200.0, 201.0, 900.0, rng.uniform(100, 1000)]))
            cells[f"question {panel}", name.format(i, i % 3)] = [of_a_month(usd * f, ttft_s) for f in (0.98, 1, 1.02)]
    return sweep(cells)[0]


def texts_of(figure):
    """Every text that is seen, with its box."""
    FigureCanvasAgg(figure).draw()
    axes = figure.axes
    seen = [text for panel in axes for text in (*panel.texts, panel.title, panel._left_title)]
    seen += [*figure.texts, *(text for key in figure.legends for text in key.texts)]
    return [(text.get_text(), text.get_window_extent()) for text in seen if text.get_text()]


@pytest.mark.parametrize(
    "seed, n_panels, n, name",
    [
        (1, 1, 4, "fleet {}"), (2, 3, 5, "fleet {}"), (3, 1, 12, "gpu=l4, scaling.n_replicas={}, fleet_{}"),
        (4, 1, 40, "gpu=l4, scaling.n_replicas={}, fleet_{}, routing.queue_per_replica=8"), (5, 5, 6, "{}, fleet {}"),
        (6, 1, 60, "fleet {}"), (7, 2, 3, "a name that is far too long to stand beside a point, number {}"),
    ],
)  # fmt: skip
def test_texts_neither_hide_each_other_nor_leave_the_picture(seed, n_panels, n, name, drawn):
    figure = drawn(world(seed, n_panels, n, name))
    texts = texts_of(figure)
    for place, (text, box) in enumerate(texts):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, text
        for other, its_box in texts[:place]:
            overlap = (
                min(box.x1, its_box.x1) - max(box.x0, its_box.x0),
                min(box.y1, its_box.y1) - max(box.y0, its_box.y0),
            )
            assert min(overlap) <= 0.5, (text, other)


def test_few_short_names_stand_beside_their_points_and_many_have_a_key_with_whole_names(drawn):
    cells = {
        ("s", name): [of_a_month(usd, t)] for name, usd, t in (("one", 900, 0.1), ("two_gpus", 400, 1), ("n=3", 100, 9))
    }
    figure = drawn(sweep(cells)[0])
    assert not figure.legends and {"one", "two gpus", "n=3"} <= {text for text, _ in texts_of(figure)}
    figure = drawn(world(3, 1, 12))
    (key,) = figure.legends
    names = [" ".join(text.get_text().split()) for text in key.texts]
    assert names == [f"{i + 1} gpu=l4, scaling.n_replicas={i}, fleet_{i % 3}" for i in range(12)]
    numbers = {n for text in figure.axes[0].texts for n in _numbers(text.get_text())}
    assert numbers == set(range(1, 13))
    looks = {(handle.get_color(), handle.get_marker()) for handle in key.legend_handles}
    assert len(looks) == 12 and len({marker for _, marker in looks}) == 7, "told apart by shape as well as colour"


def _numbers(text):
    for part in text.split(", ") if text[0].isdigit() else ():
        first, _, last = part.partition("–")
        yield from range(int(first), int(last or first) + 1)


def test_the_picture_says_dollars_a_month_and_what_all_share(drawn):
    figure = drawn(sweep({("s", "a"): [of_a_month(50, 1.0)]})[0])
    said = " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text))
    assert "; ".join(SETTING) in said and "cost, USD a month" in said and "frontier" in said
    assert figure.axes[0].get_ylim()[1] == pytest.approx(1.15 * 200)
    assert "cost of the whole run, USD" in {t.get_text() for t in drawn(WORLD[0]).findobj(Text)}


@pytest.mark.parametrize("seed", range(5))
def test_the_frontier_is_that_of_the_page(seed, drawn):
    """The rule is one: here of cost and latency, on the page of cost and attainment, where both order fleets alike."""
    rng = np.random.default_rng(seed)
    ttft_s = rng.integers(1, 9, 20).astype(float)
    usd = rng.integers(1, 9, 20) + 4 * (9 - ttft_s)
    best = frontier_of((-ttft_s).tolist(), usd.tolist())
    for i in range(20):
        beaten = [
            j
            for j in range(20)
            if ttft_s[j] <= ttft_s[i] and usd[j] <= usd[i] and (usd[j], ttft_s[j]) != (usd[i], ttft_s[i])
        ]
        first = min(j for j in range(20) if (usd[j], ttft_s[j]) == (usd[i], ttft_s[i]))
        assert (i in best) == (not beaten and i == first)
    cells = {("s", f"f{i}"): [run(usd[i], ttft_s=ttft_s[i])] for i in range(20)}
    figure = drawn(sweep(cells)[0])
    (line,) = [line for line in figure.axes[0].lines if line.get_linewidth() == 1 and len(line.get_xdata()) > 2]
    corners = np.column_stack([line.get_xdata(), line.get_ydata()])
    assert line.get_color() == LIMIT and corners.tolist() == [
        list(c) for c in steps([(ttft_s[i], usd[i]) for i in best])
    ]
    fleets = [Fleet(f"f{i}", usd[i], None, 1 - ttft_s[i] / 100, None, "k", "misses") for i in range(20)]
    of_the_page = re.search('class="frontier" d="M([^"]*)"', frontier("t", "USD", fleets, None).wide)[1].split("L")
    assert len(of_the_page) == len(corners)


def test_labels_do_not_hide_each_other():
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    names = ["always on", "scale to zero", "warm floor", "hybrid overflow", "api only"]
    assert place_labels(axes, [Label(1 + 2 * i, 5, name[:9], "black") for i, name in enumerate(names)])
    for text in axes.texts[:]:
        text.remove()
    place_labels(axes, [Label(5 + 0.1 * i, 5 + 0.1 * (i % 2), name, "black") for i, name in enumerate(names)])
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("name", ["cost.png", "cost.svg"])
def test_the_cost_figure_is_written_whole(tmp_path, name):
    path = cost_against_tail_latency(WORLD[0], tmp_path / "figures" / name, slo_ttft_s=2.0)
    assert path.stat().st_size > 5000 and [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.slow
@pytest.mark.parametrize("cheapest, shared", [(90, True), (1, False)])
def test_many_panels_stand_in_rows(tmp_path, monkeypatch, cheapest, shared):
    drawn = []
    monkeypatch.setattr("sim.report.cost_figure.save", lambda figure, path: drawn.append(figure))
    names = [f"arrivals.rate_per_s={i}, lengths=support, seed={i}" for i in range(6)]
    table, _ = sweep({(name, "a"): [run(100 if i else cheapest)] for i, name in enumerate(names)})
    cost_against_tail_latency(table, tmp_path / "many.png", slo_ttft_s=2.0)
    (figure,) = drawn
    panels = figure.axes
    assert len(panels) == 6 and figure.get_size_inches()[0] <= 16
    assert [panel.get_title().replace("\n", " ") for panel in panels] == names
    assert (len({panel.get_ylim() for panel in panels}) == 1) == shared
    boxes = [panel.title.get_window_extent() for panel in panels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_of_many_fleets_the_frontier_has_names(tmp_path, monkeypatch):
    """Placing the names of ten thousand points would take hours, and nobody could read them."""
    drawn = []
    monkeypatch.setattr("sim.report.cost_figure.save", lambda figure, path: drawn.append(figure))
    best = {("steady", "cheap"): [run(50, ttft_s=1.0)], ("steady", "fast"): [run(90, ttft_s=0.1)]}
    beaten = {("steady", f"fleet {i}"): [run(100 + i, ttft_s=INF if i % 2 else 2.0)] for i in range(50)}
    cost_against_tail_latency(sweep(beaten | best)[0], tmp_path / "many.png", slo_ttft_s=2.0)
    (axes,) = drawn[0].axes
    assert {text.get_text() for text in axes.texts} >= {"1", "2"}
    assert {text.get_text() for text in drawn[0].legends[0].texts} == {"1  fast", "2  cheap"}
    assert sum(len(points.get_offsets()) for points in axes.collections if hasattr(points, "get_sizes")) >= 50
    label = drawn[0].findobj(lambda text: isinstance(text, Text) and "time to first token" in text.get_text())[0]
    assert label.get_window_extent().width < drawn[0].bbox.width


@pytest.mark.slow
def test_figures_of_odd_worlds(tmp_path):
    failed, _ = sweep({("steady", "a"): "broken"})
    cost_against_tail_latency(failed.assign(ttft_p99_s=np.nan, usd_total=np.nan), tmp_path / "failed.png")
    cost_against_tail_latency(failed, tmp_path / "failed_only.png")
    cost_against_tail_latency(sweep({("steady", "a"): [run(0.0)]})[0], tmp_path / "free.png")
