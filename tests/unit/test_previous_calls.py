"""The row of the call before, found by the place of each call of a task, against a search."""

from __future__ import annotations

import numpy as np

from sim.records import _by_key, _by_place, rows_of_previous_calls


def calls_of_tasks(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of some tasks out of order, with calls missing, here and there one twice, and graphs that fork."""
    sizes = rng.integers(1, 6, rng.integers(1, 30))
    task = np.repeat(np.arange(len(sizes)), sizes)
    call = np.concatenate([np.arange(size) for size in sizes])
    previous = np.where(rng.random(len(call)) < 0.7, call - 1, (call - 1) // 2)
    rows = rng.permutation(len(call))[: rng.integers(1, len(call) + 1)]
    rows = np.concatenate((rows, rows[: rng.integers(0, 2)]))
    columns = {"task_id": task, "call_index": call, "calls_in_task": np.repeat(sizes, sizes), "previous_call": previous}
    return {name: column[rows] for name, column in columns.items()}


def plainly(requests: dict[str, np.ndarray]) -> list[int]:
    names = list(zip(requests["task_id"].tolist(), requests["call_index"].tolist(), strict=True))
    previous = zip(names, requests["previous_call"].tolist(), strict=True)
    wanted = [(task, before) if call else None for (task, call), before in previous]
    return [names.index(name) if name in names else -1 for name in wanted]


def test_a_place_for_each_call_and_a_search_find_the_same_rows():
    rng, n_placed = np.random.default_rng(2), 0
    for world in range(300):
        requests = calls_of_tasks(rng)
        expected = plainly(requests)
        assert rows_of_previous_calls(requests).tolist() == expected, world
        assert _by_key(requests, requests["call_index"]).tolist() == expected, world
        placed = _by_place(requests) if requests["call_index"].any() else None
        if placed is not None:
            n_placed += 1
            assert placed.tolist() == expected, world
    assert n_placed > 150


def test_tasks_that_are_numbered_otherwise_and_calls_without_a_place_are_searched_for():
    rng = np.random.default_rng(3)
    requests = next(found for found in iter(lambda: calls_of_tasks(rng), None) if found["call_index"].sum() > 9)
    assert _by_place(requests) is not None
    later = int(np.flatnonzero(requests["call_index"])[0])
    for name, value in (
        ("task_id", -1),
        ("task_id", 10**9),
        ("calls_in_task", 1),
        ("calls_in_task", 10**6),
        ("previous_call", -1),
    ):
        changed = {column: values.copy() for column, values in requests.items()}
        changed[name][later] = value
        assert _by_place(changed) is None, (name, value)
        assert rows_of_previous_calls(changed).tolist() == plainly(changed), (name, value)
