"""The frontier of cost against something worth having: what no other choice beats in both."""

from __future__ import annotations

from collections.abc import Sequence


def frontier_of(worth: Sequence[float], cost: Sequence[float]) -> list[int]:
    """The places of the choices on the frontier, the one of most worth first: no other is worth as much and costs less,
    or is worth more and costs as little. Of choices that are equal in both, the first.

    >>> frontier_of([0.9, 0.99, 0.95, 1.0], [1.0, 3.0, 4.0, 9.0])
    [3, 1, 0]
    """
    best: list[int] = []
    for place in sorted(range(len(worth)), key=lambda place: (-worth[place], cost[place])):
        if not best or cost[place] < cost[best[-1]]:
            best.append(place)
    return best


def steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of a line that goes through points of a frontier, in their order: along x first, then along y.

    >>> steps([(3.0, 9.0), (1.0, 2.0)])
    [(3.0, 9.0), (1.0, 9.0), (1.0, 2.0)]
    """
    corners: list[tuple[float, float]] = []
    for x, y in points:
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return corners
