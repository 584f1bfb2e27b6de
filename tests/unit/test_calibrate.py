"""Calibration: known constants are found again, silence of the data is told."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import log
from types import SimpleNamespace

import numpy as np
import pytest

from sim import compose_config, parse
from sim.hardware.engine import Engine
from sim.hardware.gpu import gpu_named
from sim.hardware.model import model_named
from sim.measured.calibration_tables import constants_table
from sim.measured.closed_form import Balance
from sim.measured.constants import FIELDS
from sim.measured.fit import Fit, Fitted, _Problem, errors, fit
from sim.measured.play import play
from sim.measured.points import Figures, Point
from sim.measured.server import Server
from sim.schema import ConfigError, TraceError
from sim.simulation import simulate

UNKNOWN = Figures(None, None, None)
SERVER = Server(gpu_named("h100_sxm"), model_named("llama_3_1_8b"), Engine(request_overhead_s=0.007))
TRUTH = {
    "gemm_efficiency": 0.6, "weight_read_efficiency": 0.75, "kv_read_efficiency": 0.7,
    "prefill_attention_efficiency": 0.5, "layer_overhead_us": 45.0, "per_sequence_us": 20.0, "request_overhead_s": 0.02,
}  # fmt: skip
NOISE = (0.04, 0.015, 0.015)


def spread(rng, tokens: int, n: int) -> list[int]:
    return rng.integers(int(0.8 * tokens), tokens + 1, n).tolist()


def design(rng, clients=(1, 8, 32, 128), shapes=((256, 256), (1024, 512), (8192, 256)), rounds=5) -> list[Point]:
    """Unmeasured operating points with spread lengths."""
    points = []
    for prompt, answer in shapes:
        for n in clients:
            lengths = tuple(zip(spread(rng, prompt, rounds * n), spread(rng, answer, rounds * n), strict=True))
            means = (float(np.mean(column)) for column in zip(*lengths, strict=True))
            points.append(Point(f"row {len(points)}", "x.csv", *means, UNKNOWN, concurrency=n, lengths=lengths))
    return points


def measured(server: Server, points: list[Point], rng=None, noise=NOISE) -> list[Point]:
    """The points as `server` would have them measured, with noise."""

    def figures(point: Point) -> Figures:
        factors = np.exp(rng.normal(0, noise)) if rng else np.ones(3)
        return Figures(*(f * x for f, x in zip(factors, play(server, point), strict=True)))

    return [replace(point, measured=figures(point)) for point in points]


@pytest.fixture(scope="module")
def recovered() -> list[Fit]:
    """Three fits to noisy measurements of a server with the constants TRUTH."""
    fits = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        fits.append(fit(SERVER, measured(SERVER.with_values(TRUTH), design(rng), rng)))
    return fits


def deviations(found: Fit, truth: dict[str, float]) -> dict[str, float]:
    """How many of its own standard errors each constant is from a supposed truth."""
    return {f.constant.name: abs(log(f.after / truth[f.constant.name])) / f.sigma for f in found.constants}


def test_known_constants_are_found_within_their_stated_error(recovered):
    for found in recovered:
        off = deviations(found, TRUTH)
        assert set(off) == set(TRUTH)
        assert max(off.values()) < 2.5, off


def test_wrong_constants_are_rejected(recovered):
    """The twin: the stated errors are narrow enough to tell the truth from the defaults."""
    defaults = {name: SERVER.value(FIELDS[name]) for name in TRUTH}
    for found in recovered:
        off = deviations(found, defaults)
        assert off["gemm_efficiency"] > 3 and off["per_sequence_us"] > 3 and off["request_overhead_s"] > 3, off


def test_the_fitted_server_predicts_what_it_was_not_fitted_to(recovered):
    rng = np.random.default_rng(9)
    unseen = measured(SERVER.with_values(TRUTH), design(rng, clients=(4, 64), shapes=((512, 128), (4096, 512))))
    for found in recovered:
        before = errors(unseen, [play(SERVER, p) for p in unseen])
        after = errors(unseen, [play(found.server, p) for p in unseen])
        assert before.tpot_s > 0.1 and after.tpot_s < 0.02
        assert before.ttft_s > 0.2 and after.ttft_s < 0.06


def test_errors_shrink_on_the_points_themselves(recovered):
    for found in recovered:
        assert errors(found.points, found.after).tpot_s < 0.025 < 0.1 < errors(found.points, found.before).tpot_s


def test_a_server_that_is_as_assumed_stays_as_it_is():
    points = design(np.random.default_rng(3), clients=(1, 64), shapes=((256, 128), (4096, 128)))
    found = fit(SERVER, measured(SERVER, points))
    assert all(abs(log(f.after / f.before)) < 0.02 for f in found.constants)


def test_a_constant_on_hold_is_not_moved():
    points = measured(SERVER.with_values(TRUTH), design(np.random.default_rng(3), clients=(1, 64)))
    found = fit(SERVER, points, held=["gemm_efficiency"])
    assert found.server.gpu.gemm_efficiency == SERVER.gpu.gemm_efficiency
    assert "gemm_efficiency" not in {f.constant.name for f in found.constants}


def test_work_per_step_and_per_layer_are_called_one_number(recovered):
    for found in recovered:
        assert ("weight_read_efficiency", "layer_overhead_us") in found.tied


@pytest.mark.parametrize("name", ["all_reduce_latency_us", "all_reduce_bandwidth_fraction"])
def test_links_are_fitted_only_where_there_are_links(name):
    assert name not in {c.name for c in SERVER.constants}
    assert name in {c.name for c in SERVER.on(2).constants}


def test_the_number_formats_in_use_decide_which_efficiency_is_fitted():
    fp8 = replace(SERVER, engine=SERVER.engine.model_copy(update={"weight_dtype": "fp8", "kv_dtype": "fp8"}))
    names = {c.name for c in fp8.constants}
    assert {"fp8_gemm_efficiency", "fp8_kv_read_efficiency"} <= names
    assert not {"gemm_efficiency", "kv_read_efficiency", "expert_gemm_fraction"} & names
    assert "expert_gemm_fraction" in {c.name for c in replace(SERVER, model=model_named("mixtral_8x7b")).constants}


# --- predictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [1, 8, 64, 512])
@pytest.mark.parametrize(("prompt", "answer"), [(128, 128), (1024, 512), (8192, 256)])
def test_the_closed_form_is_near_the_simulator(clients, prompt, answer):
    point = Point("", "", prompt, answer, UNKNOWN, concurrency=clients)
    form, played = Balance(SERVER).predict(point), play(SERVER, point)
    assert form.tpot_s == pytest.approx(played.tpot_s, rel=0.06)
    assert form.output_tokens_per_s == pytest.approx(played.output_tokens_per_s, rel=0.10)


def test_the_closed_form_of_a_rate_is_near_the_simulator():
    point = Point("", "", 512, 256, UNKNOWN, rate_per_s=8.0, requests=1000)
    form, played = Balance(SERVER).predict(point), play(SERVER, point)
    assert form.tpot_s == pytest.approx(played.tpot_s, rel=0.03)
    assert form.ttft_s == pytest.approx(played.ttft_s, rel=0.15)


@pytest.mark.parametrize(
    "words",
    [[], ["engine.speculative={draft_tokens:4,acceptance_rate:0.6}", "engine.max_num_batched_tokens=96"]],
    ids=["plain", "speculative"],
)
def test_a_point_is_played_as_a_scenario_plays_it(words):
    """The load generator here and `simulate` with a closed loop are one and the same world."""
    words = [*words, "arrivals=closed_loop", "arrivals.n_clients=24", "arrivals.n_tasks=120", "horizon_s=null"]
    words += ["lengths=fixed"]
    words += ["lengths.input_tokens=700", "lengths.output_tokens=90", "engine.max_num_seqs=16"]
    words += ["queue.max_requests_per_replica=24"]  # whoever waits, waits in the engine
    scenario = parse(compose_config(*words))
    facts = simulate(scenario, measure_peak=False).facts.requests
    ttft_s = facts["first_token_s"] - facts["arrived_s"]
    tpot_s = (facts["finished_s"] - facts["first_token_s"]) / (facts["output_tokens"] - 1)
    point = Point("", "", 700, 90, UNKNOWN, concurrency=24, requests=120)
    played = play(Server(scenario.gpu, scenario.model, scenario.engine), point)
    assert played.ttft_s == pytest.approx(ttft_s.mean(), rel=1e-9)
    assert played.tpot_s == pytest.approx(tpot_s.mean(), rel=1e-9)


# --- what the data cannot tell ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clients", "shapes", "expected"),
    [
        ((1,), ((256, 128), (4096, 128)), "all points have concurrency 1: .* nothing about compute; .* >= 64"),
        ((1, 4), ((256, 128), (4096, 128)), r"concurrency 1 to 4: .* nothing about compute; measure at .* >= 64"),
        ((64,), ((256, 128), (4096, 128)), r"all points have concurrency 64: .* measure at concurrency 1 to 4"),
        ((1, 64), ((512, 128),), r"one prompt length only .*: .* measure a long prompt \(>= 2500 tokens\)"),
        ((1, 64), ((512, 128), (900, 128)), r"prompts of similar length only .* measure a long prompt"),
    ],
)
def test_underdetermined_results_are_refused_with_what_to_measure(clients, shapes, expected):
    seen = Figures(0.5, 0.02, None)
    points = [Point("", "", *shape, seen, concurrency=n) for n in clients for shape in shapes]
    with pytest.raises(ConfigError, match=expected):
        fit(SERVER, points)


def test_without_decode_figures_the_message_says_so():
    points = [Point("", "", i, 128, Figures(0.5, None, None), concurrency=n) for n in (1, 64) for i in (256, 4096)]
    with pytest.raises(ConfigError, match="no point has TPOT or throughput"):
        fit(SERVER, points)


RATES = [
    Point("", "", i, 128, Figures(0.5, None, 128 * rate), rate_per_s=rate, requests=1000)
    for rate in (0.5, 5, 20, 60)
    for i in (256, 4096)
]


def test_a_sweep_of_rates_without_tpot_is_told_to_measure_tpot():
    with pytest.raises(ConfigError) as told:
        fit(SERVER, RATES)
    assert "no point has TPOT (throughput at a rate is the rate)" in str(told.value)
    assert "concurrency" not in str(told.value)


def test_throughput_at_a_rate_is_no_figure():
    """Four rates with TPOT: eight figures with the throughput, and too few without."""
    loads = [(0.5, 256), (2.0, 256), (60.0, 256), (10.0, 4096)]
    points = [Point("", "", i, 128, Figures(None, 0.02, 128 * r), rate_per_s=r, requests=1000) for r, i in loads]
    with pytest.raises(ConfigError, match="4 figures cannot tell 6 constants"):
        fit(SERVER, points)


def test_points_of_unknown_concurrency_are_not_taken_for_concurrency_1():
    clients = [Point("", "", i, 128, Figures(0.5, 0.02, None), concurrency=64) for i in (256, 4096)]
    with pytest.raises(ConfigError, match="all points but those at a rate without TPOT have concurrency 64: they"):
        fit(SERVER, clients + RATES)


def test_fewer_figures_than_constants_are_refused():
    points = [Point("", "", i, 128, Figures(None, 0.02, None), concurrency=n) for n, i in ((1, 256), (64, 4096))]
    with pytest.raises(ConfigError, match="2 figures cannot tell 6 constants: measure more"):
        fit(SERVER, points)


def test_what_the_message_offers_to_hold_is_enough():
    points = measured(SERVER, design(np.random.default_rng(1), clients=(1, 8, 64), shapes=((512, 128),)))
    found = fit(SERVER, points, held=["kv_read_efficiency", "prefill_attention_efficiency"])
    assert errors(points, found.after).tpot_s < 0.01


def test_an_unknown_constant_on_hold_is_refused():
    with pytest.raises(ConfigError, match="--hold gemm: is not one of gemm_efficiency"):
        fit(SERVER, measured(SERVER, design(np.random.default_rng(1), clients=(1,), rounds=1)), held=["gemm"])


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (Figures(0.1, 12e-6, None), "TPOT 0.012 ms is less than the .* ms the card takes to read the weights"),
        (Figures(0.1, 12.0, None), "TPOT 1.2e.04 ms is .* times what is usual"),
        (Figures(0.0001, 0.012, None), "TTFT 0.1 ms is less than the .* ms the card takes to compute the prompt"),
        (Figures(0.1, 0.01, 9000.0), r".* are 9. requests at once \(Little's law\), but there are 16 clients"),
    ],
)
def test_impossible_measurements_are_refused(figures, expected):
    with pytest.raises(TraceError, match="^somewhere: " + expected):
        fit(SERVER, [Point("somewhere", "", 1000, 256, figures, concurrency=16)])


def test_nothing_is_called_impossible_that_overlapping_perfectly_could_do():
    """Where compute and weight reads take as long, the bound is either of them, not their sum or a norm of both."""
    model, gpu = SERVER.model, SERVER.gpu
    read_s = 2 * (model.dense_params + model.head_params) / (gpu.memory_bandwidth_gb_per_s * 1e9)
    prompts = [50, 200, 280, 300, 400, 1500]
    for prompt in prompts:
        compute_s = 2 * (model.dense_params * prompt + model.head_params) / (gpu.bf16_dense_tflops * 1e12)
        bounds = [Balance(b).prompt_s(Point("", "", prompt, 128, UNKNOWN, concurrency=1)) for b in SERVER.bounds()]
        assert max(bounds) == pytest.approx(max(compute_s, read_s), rel=0.03)  # and attention
    assert SERVER.bounds()[0].on(8).gpu.link_gb_per_s > 1e9, "links may be hidden as well"


@pytest.mark.parametrize(("parallel", "dtype"), [(1, None), (4, "fp8"), (8, "mxfp4")])
def test_no_server_is_faster_than_its_bounds(parallel, dtype):
    draft = Engine.model_validate({"speculative": {"draft_tokens": 3, "acceptance_rate": 0.5}}).speculative
    flags = {"tensor_parallel": parallel, "weight_dtype": dtype, "speculative": draft}
    server = Server(SERVER.gpu, model_named("mixtral_8x7b"), SERVER.engine.model_copy(update=flags))
    for prompt in (10, 300, 3000):
        point = Point("", "", prompt, 128, UNKNOWN, concurrency=1)
        for bound in map(Balance, server.bounds()):
            assert bound.prompt_s(point) < Balance(server).prompt_s(point)
            assert bound.shortest_step_s < Balance(server).shortest_step_s


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"max_model_len": 4096}, "^row 7: requests of 8228 tokens, but llama_3_1_8b takes at most 4096"),
        ({"kv_cache_blocks": 100}, "^row 7: requests of 8228 tokens, but the KV memory holds 1600"),
    ],
)
def test_requests_that_the_described_server_would_refuse_are_refused(flags, expected):
    server = replace(SERVER, engine=SERVER.engine.model_copy(update=flags))
    with pytest.raises(TraceError, match=expected):
        fit(server, [Point("row 7", "", 8100, 128, Figures(1.0, 0.02, None), concurrency=4)])


def test_requests_longer_than_the_engine_takes_are_not_served():
    short = replace(SERVER, engine=SERVER.engine.model_copy(update={"max_model_len": 1000}))
    point = Point("", "", 990, 20, UNKNOWN, concurrency=4)
    assert play(short, point) == UNKNOWN and play(SERVER, point).tpot_s > 0


def test_requests_that_never_fit_are_refused_by_the_server_not_by_a_crash():
    server = replace(SERVER, engine=SERVER.engine.model_copy(update={"request_overhead_s": 0.0}))
    assert play(server, Point("", "", 10_000_000, 10, UNKNOWN, concurrency=50, requests=5000)) == UNKNOWN


# --- what a fit says of itself ---------------------------------------------------------------------------------------


def test_a_fit_that_swings_keeps_its_best_round(monkeypatch):
    """The closed form and the simulator correct each other in turn, and need not settle: later is not better."""
    points = measured(SERVER.with_values(TRUTH), design(np.random.default_rng(3), (1, 64), ((256, 64), (4096, 64)), 2))
    names = [c.name for c in SERVER.constants]
    near = np.log([TRUTH[name] for name in names])
    swings = itertools.chain([near], itertools.cycle([near + 0.5, near - 0.4]))
    monkeypatch.setattr(_Problem, "solve", lambda self, log_values: SimpleNamespace(x=next(swings)))
    found = fit(SERVER, points)
    assert {f.constant.name: f.after for f in found.constants} == pytest.approx(TRUTH)
    assert errors(points, found.after).tpot_s == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("place", "is_extreme"), [(0.0, True), (0.5, False), (1.0, True)])
def test_a_constant_at_the_end_of_what_is_plausible_says_so(place, is_extreme):
    """Such a constant stands in for something that the model lacks, and the reader of the table must know."""
    constant = FIELDS["gemm_efficiency"]
    after = constant.low + place * (constant.high - constant.low)
    fitted = Fitted(constant, 0.5, after, 0.01)
    told = constants_table(Fit((), (), (), SERVER, (fitted,), ()))
    assert fitted.at_bound is is_extreme and ("at the bound" in told) is is_extreme


def test_the_stated_error_allows_for_the_constants_that_were_fitted_to_the_same_points():
    """Least squares by hand: two constants, each seen twice with slope 10, off by +z and -z. Variance of a constant =
    sum of squares / (4 figures - 2 constants) / (2 * 10^2). Dividing by all 4 would halve it: through two points a line
    goes exactly, and says nothing about its error.
    """
    slopes, off = np.array([[10.0, 0.0], [10.0, 0.0], [0.0, 10.0], [0.0, 10.0]]), np.array([2.0, -2.0, 2.0, -2.0])
    problem = object.__new__(_Problem)
    problem._spread = np.array([1e6, 1e6])  # no default pulls
    problem._data = lambda log_values: slopes @ log_values + off
    soft = 18 * (np.sqrt(1 + 4 / 9) - 1)  # the square of 2 under the soft L1 loss of scale 3
    covariance = problem.covariance(np.zeros(2))
    assert np.diag(covariance) == pytest.approx([4 * soft / 2 / 200] * 2, rel=1e-4)
    assert covariance[0, 1] == pytest.approx(0.0, abs=1e-9)
