"""What a calibration prints: every point measured, before and after; errors; constants and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence

from sim.measured.fit import Fit, errors
from sim.measured.points import Figures, Point

_KINDS = (("TTFT ms", 1e3), ("TPOT ms", 1e3), ("tokens/s", 1.0))
# Mean absolute errors of TTFT, TPOT and throughput that well-fitted constants leave; larger ones cause a warning.
_NEAR = (0.30, 0.10, 0.10)


def points_table(points: Sequence[Point], before: Sequence[Figures], after: Sequence[Figures]) -> str:
    """One line per point: each figure as measured, as predicted before and after, and the error after."""
    width = max(len(point.label) for point in points) + 2
    lines = [" " * width + "".join(f"{f'{name}: measured before -> after':>46}" for name, _ in _KINDS)]
    for point, old, new in zip(points, before, after, strict=True):
        figures = zip(point.measured, old, new, _KINDS, strict=True)
        cells = [_cell(measured, was, is_now, scale) for measured, was, is_now, (_, scale) in figures]
        lines.append(f"{point.label:{width}}" + "".join(f"{cell:>46}" for cell in cells))
    return "\n".join(lines)


def _cell(measured: float | None, before: float | None, after: float | None, scale: float) -> str:
    if measured is None:
        return "-"
    if before is None or after is None:
        return f"{scale * measured:.4g}: not served"
    return f"{scale * measured:9.4g} {scale * before:9.4g} -> {scale * after:.4g} ({after / measured - 1:+.1%})"


def errors_line(where: str, points: Sequence[Point], before: Sequence[Figures], after: Sequence[Figures]) -> str:
    """Mean absolute errors before and after."""
    names = ("TTFT", "TPOT", "throughput")
    pairs = zip(names, errors(points, before), errors(points, after), strict=True)
    changes = [f"{name} {old:.1%} -> {new:.1%}" for name, old, new in pairs if old is not None and new is not None]
    return f"mean absolute error {where}: " + ", ".join(changes)


def constants_table(fit: Fit) -> str:
    """Each fitted constant before and after, its standard error, and whether the data decided it."""
    lines = [f"{'constant':34}{'before':>9}{'after':>9}{'+-':>7}"]
    for fitted in fit.constants:
        source = "determined by the data" if fitted.learned else "hardly determined by the data: held near the default"
        if fitted.at_bound:
            source = "at the bound of what is plausible: something else is slow or fast"
        name = fitted.constant.name
        lines.append(f"{name:34}{fitted.before:9.4g}{fitted.after:9.4g}{fitted.sigma:7.0%}  {source}")
    for one, other in fit.tied:
        lines.append(f"{one} and {other} cannot be separated: only their joint effect is known")
    return "\n".join(lines)


def warning(fit: Fit) -> str | None:
    """A sentence for a fit that did not come near its own points; None for one that did."""
    after = errors(fit.points, fit.after)
    figures = zip(("TTFT", "TPOT", "throughput"), after, _NEAR, strict=True)
    far = [name for name, error, largest in figures if error is not None and error > largest]
    if not far:
        return None
    return (
        f"warning: no plausible constants explain the measured {' and '.join(far)}; check model, GPU and flags "
        "(--tensor-parallel, --max-num-seqs, --max-num-batched-tokens, --weight-dtype), repeated prompts and overload"
    )
