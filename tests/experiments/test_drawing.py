"""What a reader of an experiment's figure sees: the judgement in each point's filling, the name beside its line."""

import pandas as pd
from matplotlib.colors import to_hex

from experiments.drawing import PALETTE, measured, panels
from sim.report.attainment import Verdict

ROWS = pd.DataFrame({
    "usd_total": [1.0, 2.0, 3.0],
    "usd_total_ci95": [0.1, None, 0.3],
    "meets_slo": [True, None, False],
    "slo_judgement": [Verdict.MEETS, Verdict.NOT_RESOLVED, Verdict.MISSES],
})  # fmt: skip


def test_a_point_is_filled_as_its_slo_is_judged_and_its_line_is_named():
    _, (axes,) = panels("a finding")
    measured(axes, [1, 2, 3], ROWS, "usd_total", PALETTE[0], "always on", (2, (-8, 0)))
    faces = [to_hex(line.get_markerfacecolor()) for line in axes.lines if line.get_marker() == "o"]
    assert faces == [PALETTE[0].lower(), "#bbbbbb", "#ffffff"], "meets, not resolved, does not"
    (name,) = axes.texts
    assert (name.get_text(), name.xy, name.get_ha()) == ("always on", (3.0, 3.0), "right")


def test_an_interval_is_drawn_where_there_is_one():
    _, (axes,) = panels("a finding")
    measured(axes, [1, 2, 3], ROWS, "usd_total", PALETTE[0])
    (bars,) = axes.collections
    assert [round(float(abs(bar[1, 1] - bar[0, 1])), 9) for bar in bars.get_segments()] == [0.2, 0.0, 0.6]


def test_an_interval_with_bounds_of_its_own_is_drawn_between_them():
    """A share of 99.5 ± 1.6 % does not reach beyond 100 %."""
    _, (axes,) = panels("a finding")
    rows = ROWS.assign(
        share=[0.995, 0.5, 1.0], share_ci95=0.016, share_low=[0.979, 0.4, 1.0], share_high=[0.998, 0.7, 1.0]
    )
    measured(axes, [1, 2, 3], rows, "share", PALETTE[0])
    (bars,) = axes.collections
    ends = [[round(float(end), 9) for end in sorted(bar[:, 1])] for bar in bars.get_segments()]
    assert ends == [[0.979, 0.998], [0.4, 0.7], [1.0, 1.0]]
