"""The sequences of a batch stay in order of admission, whichever of them leaves."""

from __future__ import annotations

import random

from sim.engine.running import Running
from sim.engine.sequence import Sequence
from sim.work import Call, Request, Task


def test_running_keeps_the_order_of_an_ordered_dict_in_both_directions():
    rng, running, plain = random.Random(0), Running(), {}
    task = Task(0, 0.0, (Call(5, 5),))
    for _ in range(2000):
        if plain and rng.random() < 0.5:
            leaves = rng.choice(list(plain))
            running.remove(leaves)
            del plain[leaves]
            assert leaves not in running
        else:
            comes = Sequence(Request(task, 0, 0.0))
            running.append(comes)
            plain[comes] = None
        assert list(running) == list(plain) and list(reversed(running)) == list(reversed(plain))
        assert len(running) == running.n == len(plain) and bool(running) == bool(plain)
