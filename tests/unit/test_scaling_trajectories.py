"""Autoscalers on a recorded load: when they change the fleet, and to what, worked by hand from the published rules."""

from __future__ import annotations

import yaml

from sim.conf_path import conf_dir
from sim.scaling.scaler import Scaler
from sim.schema import Config, OneOf, parse_config
from tests.scripted_fleet import play


class _Any(Config):
    scaling: OneOf[Scaler]


def conf(name: str, **changes) -> Scaler:
    """conf/scaling/<name>.yaml, with changes."""
    raw = yaml.safe_load((conf_dir() / "scaling" / f"{name}.yaml").read_text())
    return parse_config(_Any, {"scaling": raw | changes}).scaling


KPA = dict(target_requests_per_replica=10, max_replicas=10)  # 7 per replica; windows of 60 and 6 s, a tick of 2 s


def test_knative_panics_holds_and_goes_to_zero_after_its_grace():
    script = [(0, 7), (60, 21), (100, 7), (200, 0), (400, 28)]
    assert play(conf("knative_kpa", **KPA), script, 401) == [
        (62, 2),  # 6 s: (4*7 + 2*21)/6 = 11.7 -> 2 >= 2*1 ready: panic. 60 s: (58*7 + 2*21)/60 = 7.5 -> 2
        (64, 3),  # 6 s: (2*7 + 4*21)/6 = 16.3 -> 3; 3/2 < 2, so panic lasts until 62 + 60
        # 124: out of panic, (36*21 + 24*7)/60 = 15.4 -> 3
        (130, 2),  # (30*21 + 30*7)/60 = 14 -> 2 >= floor(3/2)
        (160, 1),  # 7 -> 1
        (290, 0),  # 260: nothing for 60 s, inactive; 30 s of grace
        (400, 4),  # poked; the windows begin anew: 28 -> 4
    ]


def test_knative_begins_in_panic_and_halves_at_most():
    scaler = conf("knative_kpa", **KPA, initial_replicas=8)
    # panic counts from 0; over when now > 60; then floor(8/2), floor(4/2), floor(2/2)
    assert play(scaler, [(0, 7)], 300) == [(62, 4), (64, 2), (66, 1)]


def test_knative_forgets_the_height_of_a_panic_that_is_over():
    """In panic the number never falls (autoscaler.go, maxPanicPods), but that is for this panic only: a second, smaller
    one does not call back what a larger one needed an hour ago.
    """
    script = [(0, 7), (60, 63), (90, 7), (600, 28), (606, 7)]
    changes = play(conf("knative_kpa", **KPA), script, 640)
    before = [n for at_s, n in changes if at_s < 600]
    after = [n for at_s, n in changes if at_s >= 600]
    assert max(before) == 9 and before[-1] == 1  # ceil(63 / 7), and at rest again
    assert max(after) == 4  # ceil(28 / 7)


def test_knative_scale_down_delay_keeps_the_highest_decision():
    scaler = conf("knative_kpa", **KPA, initial_replicas=2, min_replicas=1, scale_down_delay_s=100)
    # the last decision for 2 falls at 60, within panic; from 62 on it is 1
    assert play(scaler, [(0, 7)], 300) == [(160, 1)]


HPA = dict(target_per_replica=10, max_replicas=20)


def test_hpa_doubles_stabilizes_and_tolerates():
    script = [(0, 10), (20, 35), (40, 200), (80, 105), (400, 120), (410, 122)]
    assert play(conf("kubernetes_hpa", **HPA), script, 600) == [
        (30, 4),  # ceil(3.5) = 4 <= max(1*2, 1+4)
        (45, 8),  # 20 wanted; max(4*2, 4+4): the step at 30 is 15 s old and counts no more
        (60, 16),
        (75, 20),
        (375, 11),  # ceil(10.5) since 90; the recommendation of 20 at 75 is 300 s old
        # 405: |120/110 - 1| = 0.091 <= 0.1
        (420, 13),  # 122/110 - 1 = 0.109; ceil(12.2)
    ]


def test_hpa_down_policies_as_in_the_kubernetes_documentation():
    """Their example: 10 % or 4 pods a minute, whichever is more; 80, 72, 64 (7.2 becomes 8), by 4 below 40."""
    down = dict(stabilization_s=0, policies=[dict(type="pods", value=4, period_s=60),
                                             dict(type="percent", value=10, period_s=60)])  # fmt: skip
    scaler = conf("kubernetes_hpa", target_per_replica=10, max_replicas=100, scale_down=down)
    sizes = [80, 72, 64, 57, 51, 45, 40, 36, 32, 28, 24]
    steps = [(15 + 60 * i, n) for i, n in enumerate(sizes[1:])]  # a sync every 15 s, a step a minute
    assert play(scaler, [(0, 1)], 15 + 60 * 9, n_ready=80) == steps


def test_hpa_rounds_a_percentage_up_on_the_way_up():
    """horizontal.go: Ceil(start * (1 + percent / 100)): 50 % more than 3 is 5, then 8, then 12, 18, 20."""
    up = dict(stabilization_s=0, policies=[dict(type="percent", value=50, period_s=15)])
    scaler = conf("kubernetes_hpa", **HPA, scale_up=up)
    assert play(scaler, [(0, 200)], 90, n_ready=3) == [(15, 5), (30, 8), (45, 12), (60, 18), (75, 20)]


def test_hpa_takes_the_slower_policy_or_none():
    up = [dict(type="pods", value=1, period_s=15), dict(type="percent", value=100, period_s=15)]
    slow = conf("kubernetes_hpa", **HPA, scale_up=dict(stabilization_s=0, select="min", policies=up))
    assert play(slow, [(0, 200)], 45) == [(15, 2), (30, 3), (45, 4)]
    never = conf("kubernetes_hpa", **HPA, scale_up=dict(stabilization_s=0, select="disabled", policies=up))
    assert play(never, [(0, 200)], 45) == []


def test_hpa_scale_up_waits_for_its_own_stabilization():
    up = dict(stabilization_s=60, policies=[dict(type="pods", value=100, period_s=15)])
    # 20 is wanted from 15 on, but the 1 there was when it began, at 15, is in the window until 75
    assert play(conf("kubernetes_hpa", **HPA, scale_up=up), [(0, 200)], 100) == [(75, 20)]


def test_keda_wakes_at_a_poll_and_sleeps_after_its_cooldown():
    script = [(40, 1), (70, 25), (100, 0)]
    assert play(conf("keda", **HPA, cooldown_s=360), script, 600) == [
        (60, 1),  # polls at 30, 60, …
        (75, 3),  # the HPA's next sync: ceil(2.5)
        (390, 1),  # the HPA's recommendation of 3 at 90 is 300 s old
        (450, 0),  # active last at the poll of 90
    ]
    assert play(conf("keda", **HPA, activation=1), [(40, 1)], 600) == []  # not above the activation threshold


def test_keda_with_a_floor_is_an_hpa():
    script = [(0, 10, 10), (40, 40, 40), (80, 0)]
    hpa = conf("kubernetes_hpa", metric="waiting_requests", target_per_replica=5)
    assert play(conf("keda_vllm"), script, 600) == play(hpa, script, 600) == [(15, 2), (45, 4), (375, 1)]


def test_ray_serve_acts_on_what_lasts_and_leaves_one_before_none():
    scaler = conf("ray_serve", min_replicas=0, max_replicas=10, tick_s=10, downscale_delay_s=60)
    script = [(5, 1), (20, 8), (65, 3), (145, 0)]
    assert play(scaler, script, 500) == [
        (5, 1),  # from zero at once
        # 30: (15*1 + 10*8)/30/2 = 1.6 -> 2; 40: 2.8 -> 3; 50: 8/2 = 4: three loops for more, 30 s / 10 s are not enough
        (60, 4),  # the fourth
        # 70: (25*8 + 5*3)/30/2 = 3.6 -> 4; 80: 2.75 -> 3 is the first loop for fewer
        (140, 2),  # the seventh; 3/2 -> 2
        # 150: 1.25 -> 2; 160: 0.75 -> 1 is the first
        (220, 1),  # the seventh wants none, one is left
        (290, 0),  # seven more
    ]


def test_ray_serve_smooths():
    slow = conf("ray_serve", max_replicas=10, tick_s=10, upscale_delay_s=0, downscale_delay_s=0, look_back_s=10,
                upscaling_factor=0.5, downscaling_factor=0.1)  # fmt: skip
    assert play(slow, [(0, 16), (35, 2)], 60) == [
        (10, 5),  # ceil(1 + (8 - 1)/2)
        (20, 7),  # ceil(5 + 3/2)
        (30, 8),
        (40, 7),  # mean 9: ceil(8 - 0.1*3.5) = 8, but 4.5 -> 5 < 8: one less
        (50, 6),  # ceil(7 - 0.6) = 7 again
        (60, 5),  # ceil(6 - 0.5) = 6 again
    ]


def test_runpod_adds_a_worker_while_a_request_waits_too_long():
    scaler = conf("runpod_queue_delay")
    assert play(scaler, [(10, 5, 5), (60, 0)], 100, start_s=20) == [
        (15, 1),  # at 14 it has waited 4 s, not longer
        (19, 2),  # it still waits, and the last worker was ordered 4 s ago
        (23, 3),  # max workers
        (65, 0),  # idle for 5 s
    ]


def test_runpod_counts_requests():
    script = [(2, 5), (3, 9), (4, 20), (5.5, 4), (8.5, 0)]
    assert play(conf("runpod_request_count"), script, 20) == [(2, 2), (3, 3), (6, 1), (9, 0)]


def test_modal_keeps_a_buffer_while_anybody_is_there():
    scaler = conf("modal", target_inputs=10, buffer_containers=1)
    assert play(scaler, [(5, 1), (20, 11), (30, 0)], 200) == [(5, 2), (20, 3), (90, 0)]


def test_baseten_averages_over_a_minute_and_shrinks_after_its_delay():
    scaler = conf("baseten", concurrency_target=10)  # 7 per replica
    assert play(scaler, [(5, 1), (30, 28), (100, 7)], 1200) == [
        (5, 1),
        (45, 2),  # (25*1 + 15*28)/45 = 9.9
        (60, 3),  # (25*1 + 30*28)/60 = 14.4
        (75, 4),  # (15*1 + 45*28)/60 = 21.25
        (1005, 3),  # 105: (55*28 + 5*7)/60 = 26.25 -> 4 for the last time, 900 s ago
        (1035, 2),  # 135: (25*28 + 35*7)/60 = 15.75 -> 3 for the last time
        (1050, 1),  # 150: 10.5 -> 2 for the last time
    ]


def test_ski_rental_waits_for_as_long_as_a_cold_start_costs():
    scaler = conf("ski_rental")  # 40 s + 0.02 $ / 2.5 $/h = 40 + 28.8
    assert play(scaler, [(5, 1), (10, 0)], 200) == [(5, 1), (78.8, 0)]
    start_usd = (40 * 2.5 / 3600) + 0.02
    for pause_s in (1, 60, 68, 69, 600, 1e5):
        waiting_usd = min(pause_s, scaler.idle_timeout_s) * 2.5 / 3600
        paid_usd = waiting_usd + (start_usd if pause_s > scaler.idle_timeout_s else 0)
        assert paid_usd <= 2 * min(pause_s * 2.5 / 3600, start_usd) + 1e-12


def pauses(*lengths_s, first_s=10, busy_s=10):
    """One request at a time, with these pauses between."""
    script, at_s = [], first_s
    for pause_s in (*lengths_s, 0):
        script += [(at_s, 1), (at_s + busy_s, 0)]
        at_s += busy_s + pause_s
    return script


def test_hybrid_histogram_sleeps_between_regular_requests():
    scaler = conf("hybrid_histogram", min_pauses=3)
    assert play(scaler, pauses(620, 620, 620), 3000) == [
        (10, 1),  # keep-alive is 20 min until three pauses are known
        (1910, 0),  # all fell in minute 10 to 11: nothing is needed now
        (2450, 1),  # but from 600 s less 10 %
        (2640, 0),  # until 660 s and 10 %: 2636, at the next tick of 5 s
    ]


def test_hybrid_histogram_keeps_the_replica_where_short_pauses_occur():
    scaler = conf("hybrid_histogram", min_pauses=3)
    # 5 % of the pauses end in the first minute: kept from 0 to 11 min and 10 %; the last pause begins at 1320
    assert play(scaler, pauses(30, 620, 620), 3000) == [(10, 1), (2050, 0)]


def test_hybrid_histogram_does_not_believe_a_flat_or_a_short_histogram():
    flat = conf("hybrid_histogram", n_bins=4, min_variation=0.1, min_pauses=4)
    script = pauses(30, 90, 150, 210)  # one in each bin; the last pause begins at 540
    assert play(flat, script, 3000) == [(10, 1), (540 + 1200, 0)]
    short = conf("hybrid_histogram", n_bins=4, min_pauses=3)
    beyond = pauses(1000, 1000, 1000)  # of a range of 240 s; the mean of those, give or take 15 %
    assert play(short, beyond, 5000) == [(10, 1), (3050, 0), (3050 + 850, 1), (3050 + 1150, 0)]
