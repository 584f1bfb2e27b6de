"""Who wins, by what, and how sure it is."""

from sim.report.verdict import verdicts
from tests.unit.sweeps import WORLD, run, sweep


def test_the_verdict_names_the_cheapest_that_meets_the_slo():
    steady, bursty, diurnal = verdicts(*WORLD)
    assert "warm_floor is the cheapest that meets the SLO: $99.00 ±64" in steady
    assert "less than always_on, resolved over 3 paired replications" in steady  # 1 % apart, in every replication
    assert "none meets the SLO; the closest is api_only (90.0 % of calls attain it, $250)" in bursty
    assert "api_only is the cheapest" in diurnal and "NOT resolved" in diurnal  # 1 % apart, but crossing over


def test_one_replication_tests_nothing():
    table, single = sweep({("steady", "a"): [run(10)], ("steady", "b"): [run(11)]})
    assert "the lead is not tested" in verdicts(table, single)[0]
    assert "the lead is not tested" in verdicts(table)[0]
    beside, _ = sweep({("steady", "a"): [run(10)], ("steady", "b"): [run(9, attained=0.5)]})
    assert "No other fleet meets it" in verdicts(beside)[0]
    alone, _ = sweep({("steady", "a"): [run(10)], ("bursty", "a"): [run(10, attained=0.5)]})
    steady, bursty = verdicts(alone)
    assert "a meets the SLO: $10.00" in steady and "Nothing else was tried" in steady
    assert bursty == (
        "bursty: a does not meet the SLO (50.0 % of calls attain it, $10.00; one replication, not tested)."
    )
    failed, _ = sweep({("steady", "a"): "broken"})
    assert verdicts(failed) == ["steady: no fleet ran."]


def test_a_lead_is_a_share_of_what_the_second_costs_if_it_costs_anything():
    cents = {("s", "a"): [run(0.25), run(0.26)], ("s", "b"): [run(0.5), run(0.52)]}
    assert "$0.26 (50.0 %) less than b, resolved over 2 paired replications" in verdicts(*sweep(cents))[0]
    free = {("s", "a"): [run(0)] * 2, ("s", "b"): [run(0, ttft_s=0.7)] * 2}
    assert "$0 less than b" in verdicts(*sweep(free))[0]


def test_a_lead_per_token_of_one_busy_replication_is_not_known():
    """A night without a request and a day: over the two no unit cost has an interval."""

    def nights(usd, tasks):
        work = [dict(tasks_finished=n, input_tokens=100 * n, output_tokens=0) for n in (0, tasks)]
        return [run(usd, usd_per_task=usd / max(n["tasks_finished"], 1), **n) for n in work]

    (said,) = verdicts(*sweep({("s", "a"): nights(10, 1000), ("s", "b"): nights(20, 1100)}))
    assert "less than b (unknown with so few: one of 2 replications did all of the work)" in said


def test_two_scenarios_of_one_label_are_compared_by_their_own_replications():
    """As a folder holds them that was played before and after a file was changed, which both name."""
    table, each = sweep({("s", "a"): [run(10), run(12)], ("s", "b"): [run(20), run(24)]})
    names = {"a": "1f0c", "b": "77ab"}
    table, each = (f.assign(digest=f["fleet"].map(names), fleet="mine") for f in (table, each))
    assert "$11.00 (50.0 %) less than mine, NOT resolved over 2 paired replications (±$13;" in verdicts(table, each)[0]


def test_common_random_numbers_are_told_by_what_they_gave():
    """The cost of both swings by 20 % with traffic that they share: the pairing is worth thousands of replications."""
    steady, _, diurnal = verdicts(*WORLD)
    assert "pairing gave 19,801 x" in steady and "pairing" not in diurnal


def test_a_fleet_that_is_not_resolved_is_named_and_not_crowned():
    """One good hour in three is at 80 %: cheaper, but it is not resolved whether it meets the SLO."""
    shaky = [run(50), run(50, attained=1.0), run(50, attained=0.8)]
    cells = {("s", "dear"): [run(100)] * 10, ("s", "shaky"): shaky}
    (said,) = verdicts(*sweep(cells, times=1))
    assert said.startswith("s: dear is the cheapest that meets the SLO: $100")
    assert said.endswith("NOT resolved whether they meet it: shaky ($50.00, 93.2 %).")
    (alone,) = verdicts(*sweep({("s", "shaky"): shaky, ("s", "poor"): [run(10, attained=0.1)] * 3}, times=1))
    assert "none is shown to meet the SLO; the closest is shaky (93.2 % of calls attain it, $50.00;" in alone
    assert "% by 3 replications)." in alone


def test_few_good_replications_may_meet_the_slo():
    cells = {("s", "a"): [run(10 + i / 10) for i in range(3)], ("s", "b"): [run(20 + i / 10) for i in range(3)]}
    (said,) = verdicts(*sweep(cells, times=1))
    assert said.startswith("s: a is the cheapest that may meet the SLO: $10.10")
    assert "% by 3 replications, of the 10 that could show it)" in said and "less than b, resolved" in said
    (one,) = verdicts(*sweep({("s", "a"): cells[("s", "a")]}, times=1))
    assert one.startswith("s: a may meet the SLO") and one.endswith("Nothing else was tried.")


def played(cost, noise=0.0, requests=300, **more):
    """Three replications: `noise` is what chance adds to the moments, `requests` may differ from one to the next."""
    counts = [requests] * 3 if isinstance(requests, int) else requests
    return [
        run(cost, requests=n, tasks=n, input_tokens=9 * n, output_tokens=5 * n, ttft_mean_s=0.1 + noise * i,
            e2e_mean_s=1 + noise * i, **more)
        for i, n in enumerate(counts)
    ]  # fmt: skip


def test_a_log_played_again_tests_nothing():
    repeats = "(all replications played the same traffic: the lead is not tested)"
    only, single = sweep({("log", "gpu"): played(10), ("log", "api"): played(12.0, noise=0.01)})
    assert verdicts(only, single)[0].endswith(f"$2.00 (16.7 %) less than api {repeats}.")
    rounded = [row | {"usd_total": 10 * (1 + i * 1e-16)} for i, row in enumerate(played(10))]
    assert repeats in verdicts(*sweep({("log", "a"): rounded, ("log", "b"): played(11)}))[0]


def test_a_cost_that_traffic_cannot_change_is_resolved():
    """Always on at two prices: the difference is constant by nature, though every replication has its own traffic."""
    counts = [290, 300, 310]
    table, single = sweep({("steady", "dear"): played(12, 0.1, counts), ("steady", "cheap"): played(10, 0.1, counts)})
    assert "resolved over 3 paired replications (±$0)" in verdicts(table, single)[0]


def test_the_same_requests_with_chance_of_their_own_are_said_to_be_the_same():
    lives = [row | {"usd_total": 10 + 0.1 * i} for i, row in enumerate(played(10, noise=0.1))]
    table, single = sweep({("log", "cold"): lives, ("log", "warm"): played(15)})
    assert "resolved over 3 paired replications of the same requests (±$0.25): only their timing" in verdicts(
        table, single
    )[0]  # fmt: skip
    fixed = {("steady", name): played(cost, noise=0.1) for name, cost in (("a", 10), ("b", 11))}
    assert "played the same requests: the lead is not tested" in verdicts(*sweep(fixed))[0]


def test_the_lead_is_over_something_else():
    api = played(10, noise=0.1, ttft_s=1.0)
    table, single = sweep({("log", "l4, api"): api, ("log", "l40s, api"): api, ("log", "l4, on"): played(11)})
    said = verdicts(table, single)[0]
    assert "l4, api (alike: l40s, api) is the cheapest" in said and "$1.00 (9.1 %) less than l4, on" in said
    both, _ = sweep({("log", "l4, api"): api, ("log", "l40s, api"): api})
    assert "(alike: l40s, api) is the cheapest" in verdicts(both)[0] and "No other" in verdicts(both)[0]


def worked(cost, tasks, tokens_per_task=1000.0, **more):
    """Three replications in which a fleet finished this many tasks."""
    counts = [tasks * f for f in (0.9, 1.0, 1.1)]
    return [
        run(cost, tasks_finished=n, requests=n, tasks=n, input_tokens=0.75 * n * tokens_per_task,
            output_tokens=0.25 * n * tokens_per_task, usd_per_task=cost / n, **more)
        | {"usd_per_mtok_total": cost / n / tokens_per_task * 1e6}
        for n in counts
    ]  # fmt: skip


def test_whoever_does_less_is_not_cheaper_for_it():
    """In an hour of a closed loop a slow GPU for $10 finishes 100 tasks, a fast one for $15 finishes 300."""
    (said,) = verdicts(*sweep({("loop", "slow"): worked(10, 100), ("loop", "fast"): worked(15, 300)}))
    assert said.startswith("loop: fast is the cheapest per task that meets the SLO: $0.0500 ±")
    assert "($15.00 in all)" in said and "$0.0500 per task (50.0 %) less than slow, resolved over 3 paired" in said
    assert said.endswith("; compared per task, as they did not finish the same work (100 to 300 tasks).")


def test_the_same_work_within_a_hundredth_is_compared_as_a_whole():
    (said,) = verdicts(*sweep({("steady", "a"): worked(10, 1000), ("steady", "b"): worked(10.05, 1009)}))
    assert "a is the cheapest that meets the SLO: $10.00" in said and "$0.0500 (0.5 %) less than b" in said
    assert "per task" not in said


def test_tasks_of_another_size_are_compared_by_the_token():
    """One fleet refuses the long prompts: nearly as many tasks, half the tokens."""
    cells = {("steady", "all"): worked(12, 1000, 1000), ("steady", "short"): worked(10, 990, 500)}
    (said,) = verdicts(*sweep(cells))
    assert "all is the cheapest per Mtok that meets the SLO: $12.0" in said and "($12.00 in all)" in said
    assert said.endswith("compared per Mtok, as they did not finish the same work (0.495 to 1.00 Mtok).")


def test_only_those_that_meet_the_slo_are_rivals():
    """A fleet that refuses most tasks does not change by what the others are compared."""
    cells = {("s", "a"): worked(10, 1000), ("s", "b"): worked(11, 1000), ("s", "none"): worked(1, 10, attained=0.1)}
    assert "a is the cheapest that meets the SLO: $10.00" in verdicts(*sweep(cells))[0]


def test_a_sweep_that_is_not_done_says_so():
    table, single = sweep({("steady", "a"): [run(10)], ("steady", "b"): [run(9, attained=0.5)]})
    assert "No other fleet meets it so far" in verdicts(table, single, complete=False)[0]
    assert "a is the cheapest so far" in verdicts(table, single, complete=False)[0]
    one, two = verdicts(sweep({("x", "a"): [run(10)], ("y", "a"): "broken"})[0], complete=False)
    assert one.endswith("Nothing else was played so far.") and two == "y: no fleet ran so far."
    neither, _ = sweep({("x", "a"): [run(10, attained=0.5)], ("x", "b"): [run(9, attained=0.5)]})
    assert "none so far meets the SLO" in verdicts(neither, complete=False)[0]
    half, _ = sweep({("x", "a"): [run(10)], ("x", "b"): "broken"})
    assert verdicts(half)[0].endswith("No other fleet that ran meets it.")
