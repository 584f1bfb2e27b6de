"""The articles' own arithmetic, claim by claim: what follows from their inputs, and where a number does not follow.

Articles are named by number (000 to 004). A test says "holds", "only if" or "fails" in its name or its docstring.
"""

import math

import pytest

from sim.ledger.breakeven import (
    AgentTask,
    OwnedNode,
    Reuse,
    api_task_usd,
    blended_usd_per_mtok,
    breakeven_fraction,
    breakeven_volume,
    crossover_calls,
    overhead_times_gpu,
    replicas_for,
    self_hosted_task_usd,
    serverless_breakeven_duty,
    usd_per_mtok,
)

MONTH_720_H = 720 * 3600  # article 001's month


def test_claim_000_saturated_h100_at_99_cents_holds():
    assert usd_per_mtok(2.50, 700) == pytest.approx(0.992, abs=5e-4)
    low, high = usd_per_mtok(2.50, 800), usd_per_mtok(2.50, 300)
    assert (low, high) == pytest.approx((0.868, 2.315), abs=1e-3)


def test_claim_000_a_tenth_busy_costs_ten_times_by_definition():
    assert usd_per_mtok(2.50, 70) == pytest.approx(9.92, abs=5e-3)
    assert usd_per_mtok(2.50, 700, 0.1) == pytest.approx(10 * usd_per_mtok(2.50, 700))
    assert 0.1 * 3600 == 360, "its '70 seconds' worth of tokens' is 360 seconds' worth"


def test_claim_000_the_api_wins_by_an_order_of_magnitude_holds():
    assert usd_per_mtok(2.50, 700, 0.1) / 0.88 == pytest.approx(11.3, abs=0.05)
    assert usd_per_mtok(2.50, 700, 0.1) / 1.00 > 9.9


@pytest.mark.parametrize(("times_gpu", "needed"), [(1, 1.127), (2, 2.254), (3, 3.382)])
def test_claim_000_its_own_figures_never_break_even(times_gpu, needed):
    """Fails: "if your utilization is high, self-hosting wins": not at $2.50, 700 tok/s and $0.88, however busy."""
    found = breakeven_fraction(2.50, 700, 0.88, times_gpu)
    assert found.value is None and "unreachable" in found.reason
    assert found.needed == pytest.approx(needed, abs=1e-3)


def test_claim_001_a_billion_tokens_through_an_api():
    """$590 to $900 follow from its prices; its own "$1,040" would need $1.04 per Mtok, which it does not list."""
    assert [1e9 / 1e6 * usd for usd in (0.59, 0.90)] == pytest.approx([590, 900])
    assert 1040 / 1000 > 0.90


def test_claim_001_two_a100_at_2880_and_3_3_times_the_api():
    assert 2 * 720 * 2.00 == 2880 and 2 * 720 * 1.39 == pytest.approx(2001.6)
    assert 2880 / 880 == pytest.approx(3.27, abs=0.01)


@pytest.mark.parametrize(("tokens_per_s", "gpus", "full"), [(1000, 4, 1.93), (2000, 2, 0.965), (3000, 2, 0.643)])
def test_claim_001_ten_billion_on_two_a100_only_if_each_does_2000_per_s(tokens_per_s, gpus, full):
    capacity = 2 * tokens_per_s * MONTH_720_H
    assert capacity == pytest.approx({1000: 5.184e9, 2000: 10.37e9, 3000: 15.55e9}[tokens_per_s], rel=1e-3)
    assert 10e9 / capacity == pytest.approx(full, abs=2e-3)
    assert replicas_for(10e9, tokens_per_s) == gpus  # a month of 730 h


@pytest.mark.parametrize(("tokens_per_s", "gpus"), [(1000, 20), (2000, 10), (3000, 7)])
def test_claim_001_fifty_billion_on_two_a100_fails(tokens_per_s, gpus):
    """The flat line of its chart ends long before: 50 B tokens in 720 h want 7 to 20 cards; 3 at the very least."""
    assert math.ceil(50e9 / (tokens_per_s * MONTH_720_H)) == gpus
    assert 50e9 / (2 * tokens_per_s * MONTH_720_H) > 3


@pytest.mark.parametrize(
    ("times_gpu", "api_usd", "billions"),
    [(1, 0.90, 3.2), (1, 0.59, 4.88), (3, 0.90, 9.6), (5, 0.59, 24.4), (1, 0.23, 12.5), (1, 0.12, 24.0)],
)
def test_claim_001_crossover_of_10_to_50_billion_only_with_overhead_or_the_cheapest_api(times_gpu, api_usd, billions):
    """On rent alone it is 3.2 to 4.9 B; with 3 to 5 times the rent 9.6 to 24 B; against DeepInfra 12.5 to 24 B.

    At 3,000 tokens/s two cards hold 15.6 B: what lies above needs more cards, so more volume, or never comes.
    """
    usd = 2880 * times_gpu / 2
    assert 2 * usd / api_usd * 1e6 == pytest.approx(billions * 1e9, rel=0.01)
    found = breakeven_volume(usd, 3000 * MONTH_720_H, api_usd, least_replicas=2)
    if billions < 15.55:
        assert found.first_tokens == pytest.approx(billions * 1e9, rel=0.01)
    else:
        assert found.first_tokens is None


@pytest.mark.parametrize("api_usd", [0.59, 0.88, 0.90])
def test_claim_001_self_hosting_at_1000_per_s_hardly_ever_breaks_even(api_usd):
    """An A100 at $2.00 and 1,000 tokens/s costs $0.56 full: a cheap API at $0.59 is met at 94 % of two cards."""
    found = breakeven_volume(1440, 1000 * MONTH_720_H, api_usd, least_replicas=2)
    assert found.first_tokens == pytest.approx(2880 / api_usd * 1e6)
    assert found.first_tokens / (2 * 1000 * MONTH_720_H) == pytest.approx(0.5556 / api_usd, rel=1e-3)
    assert breakeven_volume(1440, 1000 * MONTH_720_H, 0.55).first_tokens is None


def test_claim_001_a_premium_api_crosses_at_a_billion_holds_from_2_88_per_mtok():
    assert breakeven_volume(1440, 2000 * MONTH_720_H, 2.88, least_replicas=2).first_tokens == pytest.approx(1e9)


def test_claim_001_under_a_billion_self_hosting_always_loses_holds_for_always_on_rent():
    """One A100 at $1.39 around the clock is $1,001; the dearest open API takes $900 for a billion."""
    assert 720 * 1.39 > 900
    assert breakeven_volume(720 * 1.39, 3000 * MONTH_720_H, 0.90).first_tokens > 1e9


def test_claim_001_true_cost_of_3_to_5_times_falls_with_the_fleet():
    """An engineer at $250,000 a year is 7.1 times the rent of two A100s, and 0.7 times that of 16 H100s."""
    assert overhead_times_gpu(250_000 / 12, 2, 2.00) == pytest.approx(7.1, abs=0.05)  # 7.2 on a month of 720 h
    assert overhead_times_gpu(250_000 / 12, 16, 2.50) == pytest.approx(0.71, abs=0.01)


@pytest.mark.parametrize(("usd_per_h", "duty"), [(2.00, 0.731), (1.39, 0.508)])
def test_claim_001_serverless_saves_the_idle_90_percent_holds_if_bursts_are_long(usd_per_h, duty):
    """RunPod flex A100 at $0.00076/s. A cold start of 60 s per burst of 60 s halves it; ten seconds: not at 10 %."""
    on, flex = usd_per_h / 3600, 0.00076
    assert serverless_breakeven_duty(on, flex).value == pytest.approx(duty, abs=1e-3)
    assert serverless_breakeven_duty(on, flex, 60, 55, 5).value == pytest.approx(duty / 2, abs=1e-3)
    assert serverless_breakeven_duty(on, flex, 3600, 95, 5).value > 0.1
    assert serverless_breakeven_duty(on, flex, 10, 95, 5).value < 0.1


def test_claim_001_a_warm_worker_costs_about_an_always_on_rental():
    """Active at $0.0006/s: 0.79 of flex, 8 to 55 % above the rentals it names."""
    assert 0.0006 / 0.00076 == pytest.approx(0.79, abs=0.005)
    assert [0.0006 * 3600 / usd for usd in (2.00, 1.39)] == pytest.approx([1.08, 1.55], abs=0.005)


def test_claim_002_idle_half_the_day_doubles_the_unit_cost_by_definition():
    assert usd_per_mtok(3.0, 500, 0.5) == pytest.approx(2 * usd_per_mtok(3.0, 500))


def test_claim_002_short_daily_bursts_need_more_cards_not_only_idle_ones():
    """A full GPU's volume in 2 h a day: 12 GPUs. Kept around the clock it costs 12 times as much; understated there."""
    full = 700 * 730 * 3600.0
    assert replicas_for(full, 700) == 1
    assert replicas_for(full, 700, peak_over_mean=24 / 2) == 12


def test_claim_002_a_tenth_of_an_engineer_outweighs_the_api_bill_up_to_2_4_billion():
    assert 25_000 / 12 / 0.88 * 1e6 == pytest.approx(2.37e9, rel=1e-2)


def test_claim_003_prices_for_300_million_in_and_100_million_out():
    """Its table leaves out the light model: $800, less than the H100's $1,200."""
    bills = [300 * i + 100 * o for i, o in ((15, 75), (3, 15), (1, 5))]
    assert bills == [12_000, 2400, 800] and bills[2] < 1200
    assert 1200 / 730 == pytest.approx(1.644, abs=5e-4)


@pytest.mark.parametrize(
    ("usd_in", "usd_out", "millions"), [(3, 15, 200), (15, 75, 40), (1, 5, 600), (0.88, 0.88, 1364)]
)
def test_claim_003_hundreds_of_millions_to_billions_holds_as_a_span(usd_in, usd_out, millions):
    """40 M against a frontier model, 1.36 B against an open model: not like for like, as it runs an open model."""
    blended = blended_usd_per_mtok(usd_in, usd_out, 3, 1)
    found = breakeven_volume(1200, 761 * 730 * 3600, blended)
    assert found.first_tokens == pytest.approx(millions * 1e6, rel=1e-3)


def test_claim_003_tens_of_thousands_at_1_to_2_billion_holds_for_the_frontier_only_above_1_7_for_mid_tier():
    frontier, mid = blended_usd_per_mtok(15, 75, 3, 1), blended_usd_per_mtok(3, 15, 3, 1)
    assert (frontier * 1000, frontier * 2000) == (30_000, 60_000)
    assert (mid * 1000, mid * 2000) == (6000, 12_000) and 10_000 / mid == pytest.approx(1667, abs=1)


def test_claim_003_headroom_of_3_to_5_times_needs_457_to_761_tokens_per_s():
    mean = 400e6 / (730 * 3600)
    assert mean == pytest.approx(152, abs=0.5)
    assert (3 * mean, 5 * mean) == pytest.approx((457, 761), abs=1)


def test_claim_003_business_hours_save_70_to_76_percent():
    usd = [1200 / 730 * hours * 22 for hours in (8, 10)]
    assert usd == pytest.approx([289, 362], abs=1)
    assert [1 - u / 1200 for u in usd] == pytest.approx([0.76, 0.70], abs=5e-3)


PROFILES = {
    "short": (128, 4),
    "chat": (219, 197),
    "medium": (2000, 100),
    "long": (4000, 200),
    "very_long": (32_000, 100),
}
SPEED = {  # total tokens/s on the benchmarked node, GPUStack; profiles in the order above
    "qwen": (1, (4006, 2353, 3195, 2149, 2772)),
    "v3_2": (8, (10_071, 5714, 10_926, 9974, 9709)),
    "glm": (8, (9497, 6031, 17_215, 16_715, 15_066)),
}
DEEPINFRA = {"qwen": (0.08, 0.28), "v3_2": (0.27, 0.40), "glm": (0.40, 1.75)}


def costs_004(model, profile, rho_usd_per_h):
    """(self-hosted, API) USD per Mtok of article 004 with one price-to-speed ratio rho for the step to B200."""
    gpus, speeds = SPEED[model]
    tokens_per_s = speeds[list(PROFILES).index(profile)]
    api = blended_usd_per_mtok(*DEEPINFRA[model], *PROFILES[profile])
    return usd_per_mtok(rho_usd_per_h * gpus, tokens_per_s, 0.7, 1.15), api


def needed_004(model, profile, rho_usd_per_h):
    """The break-even fraction of peak that would be needed, over 1 or not."""
    gpus, speeds = SPEED[model]
    _, api = costs_004(model, profile, rho_usd_per_h)
    return breakeven_fraction(rho_usd_per_h * gpus, speeds[list(PROFILES).index(profile)], api, 1.15).needed


@pytest.mark.parametrize(
    ("model", "profile", "own", "api"),
    [
        ("qwen", "short", 0.125, 0.086), ("qwen", "chat", 0.213, 0.175), ("qwen", "long", 0.234, 0.090),
        ("v3_2", "short", 0.399, 0.274), ("v3_2", "chat", 0.703, 0.332), ("v3_2", "long", 0.403, 0.276),
        ("glm", "short", 0.423, 0.441), ("glm", "chat", 0.666, 1.039), ("glm", "long", 0.240, 0.464),
    ],
)  # fmt: skip
def test_claim_004_figure_1_at_rho_1_1(model, profile, own, api):
    assert costs_004(model, profile, 1.1) == pytest.approx((own, api), abs=7e-4)


def test_claim_004_figure_1_only_if_rho_is_between_0_90_and_1_15():
    """Rho: B200 price over its speed-up on the benchmarked cards, not stated in the text. Holds exactly in between."""

    def as_drawn(rho):
        return all(
            (own > api) == (model != "glm")
            for model in SPEED
            for profile in ("short", "chat", "long")
            for own, api in [costs_004(model, profile, rho)]
        )

    held = [rho / 100 for rho in range(50, 200) if as_drawn(rho / 100)]
    assert (held[0], held[-1]) == pytest.approx((0.91, 1.14), abs=0.011)
    assert len(held) == round((held[-1] - held[0]) * 100) + 1, "one stretch without holes"


def test_claim_004_figure_2_deepseek_never_crosses_in_chat():
    found = [needed_004(model, "chat", 1.1) for model in ("qwen", "v3_2", "glm")]
    assert found == pytest.approx([0.85, 1.48, 0.45], abs=0.01)


def test_claim_004_figure_3_deepseek_clusters_near_100_percent_only_inside_the_same_window():
    clusters = [(rho, needed_004("v3_2", p, rho)) for rho in (1.0, 1.1) for p in PROFILES if p != "chat"]
    assert all(0.84 < fraction < 1.08 for _, fraction in clusters)
    assert 1.2 < needed_004("v3_2", "chat", 0.91) < needed_004("v3_2", "chat", 1.15) < 1.56
    assert all(needed_004("v3_2", p, 0.6) < 0.7 for p in PROFILES if p != "chat"), "at another rho the zone changes"


def test_claim_004_utilization_and_overhead_multiply_the_cost_by_1_64():
    assert usd_per_mtok(1.0, 1000, 0.7, 1.15) / usd_per_mtok(1.0, 1000) == pytest.approx(1.643, abs=5e-4)


TAU2 = AgentTask(7300, 231, 299, 0.9)
LAUNCH, LATER = (0.27, 0.40, 0.216), (0.26, 0.38, 0.13)  # DeepInfra V3.2: input, output, cached


@pytest.mark.parametrize(
    ("reuse", "computed", "cached_usd", "for_3x", "for_2x"),
    [
        (Reuse.EVERY_CALL, 24_969, 0.0444, 0.72, 0.89),
        (Reuse.AFTER_FIRST, 31_539, 0.0448, 0.57, 0.71),
        (Reuse.EXACT_PREFIX, 17_669, 0.0440, 1.01, 1.25),
    ],
)
def test_claim_004_twenty_calls_under_three_readings(reuse, computed, cached_usd, for_3x, for_2x):
    assert TAU2.input_tokens(20) == 189_890 and TAU2.all_output_tokens(20) == 5980
    assert self_hosted_task_usd(TAU2, 20, 1e6, reuse) == pytest.approx(computed, abs=0.5)
    plain = api_task_usd(TAU2, 20, *LAUNCH[:2])
    cached = api_task_usd(TAU2, 20, *LAUNCH, reuse)
    assert (plain, cached) == pytest.approx((0.0537, cached_usd), abs=5e-5)
    assert (plain / 3 / computed * 1e6, cached / 2 / computed * 1e6) == pytest.approx((for_3x, for_2x), abs=6e-3)


@pytest.mark.parametrize(("prices", "low", "high"), [(LAUNCH, 1.20, 1.22), (LATER, 1.71, 1.81)])
def test_claim_004_three_and_two_times_do_not_fit_together(prices, low, high):
    """Fails as a pair: 3x and 2x say that the cached API is 1.5 times cheaper; neither price list gives 1.5."""
    for reuse in (Reuse.EVERY_CALL, Reuse.AFTER_FIRST, Reuse.EXACT_PREFIX):
        ratio = api_task_usd(TAU2, 20, *prices[:2]) / api_task_usd(TAU2, 20, *prices, reuse)
        assert low - 0.005 <= ratio <= high + 0.005


def test_claim_004_api_wins_at_one_call_fails_under_reading_a():
    """Only if the first call is computed in full."""
    for usd, reuse, own_wins in ((0.72, Reuse.EVERY_CALL, True), (0.57, Reuse.AFTER_FIRST, False),
                                 (1.01, Reuse.EXACT_PREFIX, False)):  # fmt: skip
        assert (self_hosted_task_usd(TAU2, 1, usd, reuse) < api_task_usd(TAU2, 1, *LAUNCH, reuse)) is own_wins


@pytest.mark.parametrize(
    ("usd", "prices", "reuse", "times", "crossovers"),
    [
        (0.65, LAUNCH, Reuse.AFTER_FIRST, (2.6, 2.2), (3, 4)),
        (0.55, LATER, Reuse.AFTER_FIRST, (3.0, 1.75), (3, 5)),
        (1.00, LAUNCH, Reuse.EXACT_PREFIX, (3.0, 2.5), (5, 6)),
        (0.80, LATER, Reuse.EXACT_PREFIX, (3.7, 2.0), (4, 7)),
        (1.00, LATER, Reuse.EXACT_PREFIX, (2.9, 1.6), (5, 10)),
    ],
)
def test_claim_004_crossover_within_ten_calls_holds_but_is_not_unique(usd, prices, reuse, times, crossovers):
    def own(k):
        return self_hosted_task_usd(TAU2, k, usd, reuse)

    def plain(k):
        return api_task_usd(TAU2, k, *prices[:2])

    def cached(k):
        return api_task_usd(TAU2, k, *prices, reuse)

    assert (plain(20) / own(20), cached(20) / own(20)) == pytest.approx(times, abs=0.06)
    assert (crossover_calls(own, plain), crossover_calls(own, cached)) == crossovers


def test_claim_004_without_reuse_self_hosting_loses():
    """All depends on KV that survives between the calls: at its own $0.40 per Mtok, $0.078 against $0.054."""
    own = self_hosted_task_usd(TAU2, 20, 0.40, Reuse.NONE)
    assert own == pytest.approx(0.0783, abs=1e-4)
    assert own > api_task_usd(TAU2, 20, *LAUNCH[:2])
    found = crossover_calls(lambda k: self_hosted_task_usd(TAU2, k, 0.40, Reuse.NONE),
                            lambda k: api_task_usd(TAU2, k, *LAUNCH[:2]))  # fmt: skip
    assert found is None


def test_claim_004_its_own_long_regime_would_give_more_than_it_claims():
    """$0.37 to 0.40 per Mtok (Medium, Long at rho 1.1) gives 4.2 to 4.6 times under reading B, not 3."""
    usd = [costs_004("v3_2", profile, 1.1)[0] for profile in ("medium", "long")]
    assert usd == pytest.approx([0.368, 0.403], abs=1e-3)
    plain = api_task_usd(TAU2, 20, *LAUNCH[:2])
    times = [plain / self_hosted_task_usd(TAU2, 20, u, Reuse.AFTER_FIRST) for u in usd]
    assert times == pytest.approx([4.6, 4.2], abs=0.05)


@pytest.mark.parametrize(
    ("capex", "residual", "power", "usd"),
    [
        (325_000, 0.3, {"pue": 1.3, "usd_per_kwh": 0.09}, 1.23),
        (325_000, 0.3, {"colocation_usd_per_kw_month": 200}, 1.43),
        (350_000, 0.0, {"pue": 1.3, "usd_per_kwh": 0.12}, 1.86),
    ],
)
def test_owned_8xh100_from_1_23_to_1_86_per_gpu_hour(capex, residual, power, usd):
    """A three-year total of $450,000 to $650,000, stated beside "$1.20", is $2.14 to $3.09."""
    node = OwnedNode(gpus=8, capex_usd=capex, residual_fraction=residual, years=3, kw=10.2, **power)
    assert node.usd_per_gpu_hour == pytest.approx(usd, abs=5e-3)
    assert [total / 3 / 8760 / 8 for total in (450_000, 650_000)] == pytest.approx([2.14, 3.09], abs=5e-3)


def test_interest_of_10_percent_adds_a_third_to_the_capital_of_an_owned_gpu():
    node = OwnedNode(gpus=8, capex_usd=325_000, residual_fraction=0.3, years=3, kw=10.2)
    dear = node.model_copy(update={"cost_of_capital": 0.10})
    assert dear.capital_usd_per_gpu_hour / node.capital_usd_per_gpu_hour == pytest.approx(1.335, abs=1e-3)
