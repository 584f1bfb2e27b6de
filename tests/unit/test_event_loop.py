"""`EventLoop` is SimPy's environment, event for event: played beside it, with processes, failures and stops."""

from __future__ import annotations

import random
from math import inf

import pytest
import simpy
from simpy.core import EmptySchedule

from sim.clock import AFTER_ARRIVALS, Wake, call_later
from sim.event_loop import EventLoop

WORLDS = (simpy.Environment, EventLoop)


def history(new_world, seed: int) -> list[tuple]:
    """What happens, and when, in a world of wakes, calls, processes and conditions at few and often equal moments."""
    env, rng, seen = new_world(), random.Random(seed), []

    def worker(number):
        for _ in range(rng.randrange(6)):
            yield env.timeout(rng.randrange(3))
            seen.append((env.now, "worker", number))
            if rng.random() < 0.3:
                call_later(env, rng.randrange(3), seen.append, ("called by", number))
        if rng.random() < 0.3:
            yield env.any_of([env.timeout(1), env.timeout(2)])
        return number

    def waiter(process):
        seen.append((env.now, "got", (yield process)))

    for number in range(8):
        process = env.process(worker(number))
        if number % 2:
            env.process(waiter(process))
    for number in range(8):
        wake = Wake(lambda w, number=number: seen.append((env.now, "wake", number)))
        wake.schedule(env, rng.randrange(4), rng.choice((1, AFTER_ARRIVALS)))
    for until_s in (1, 2.5, 3):
        env.run(until=until_s)
        seen.append(("stopped at", env.now))
    return [*seen, env.run(), env.now, env.peek()]


def test_events_happen_in_the_order_of_simpy():
    for seed in range(200):
        assert history(EventLoop, seed) == history(simpy.Environment, seed)


@pytest.mark.parametrize("new_world", WORLDS)
def test_a_run_that_waits_for_an_event_leaves_its_other_callbacks_for_the_next_run(new_world):
    env, seen = new_world(), []
    awaited = env.timeout(3, value="done")
    call_later(env, 3, seen.append, "later")
    assert env.run(until=awaited) == "done" and env.now == 3
    awaited.callbacks.append(lambda event: seen.append(event.value))
    env.run()
    assert seen == ["done", "later"]
    assert env.run(until=awaited) == "done"  # it has happened: nothing to wait for


@pytest.mark.parametrize("new_world", WORLDS)
def test_what_goes_wrong_is_raised(new_world):
    env = new_world()
    env.event().fail(ValueError("lost"))
    with pytest.raises(ValueError, match="lost"):
        env.run()
    env.run(until=5)
    with pytest.raises(ValueError, match="until"):
        env.run(until=5)
    with pytest.raises(RuntimeError):
        env.run(until=env.event())


@pytest.mark.parametrize("new_world", WORLDS)
def test_a_failure_that_is_handled_stops_nothing(new_world):
    env = new_world()

    def careful():
        with pytest.raises(ValueError, match="lost"):
            yield failing
        return "went on"

    failing = env.event()
    process = env.process(careful())
    failing.fail(ValueError("lost"))
    assert env.run(until=process) == "went on"


@pytest.mark.parametrize("new_world", WORLDS)
def test_one_event_at_a_time(new_world):
    env, seen = new_world(2), []
    call_later(env, 1, seen.append, "call")
    env.timeout(3).callbacks.append(lambda event: seen.append("event"))
    assert env.peek() == 3
    env.step()
    assert (env.now, seen) == (3, ["call"])
    env.step()
    assert (env.now, seen, env.peek()) == (5, ["call", "event"], inf)
    with pytest.raises(EmptySchedule):
        env.step()
