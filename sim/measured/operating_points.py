"""Operating points (CSV, one a row): closed loops with a number of clients, and bursts of all requests at once.

Columns: `source, engine, gpu, model, dtype, tp, input_len, output_len` are needed; `concurrency` is the number of
clients, and a row without it says in `notes` that "all N requests [were] sent at once". `kv_dtype` and the engine's
flags (`max_num_seqs`, `max_num_batched_tokens`, `max_model_len`, `prefix_caching`, ...) say how the server was started.
What the client did is stated by the fields of `client.ClientStated` (`ramp_s`, `length_low_fraction`, `n_requests`,
`n_warmup_requests`, `n_distinct_prompts`, `tokenizer_us_per_token`, ...); where a figure hangs on something that is not
stated, it is predicted under the other guess, too.

Measured are `ttft_ms_mean, _p50, _p99`, `tpot_ms_mean, _p50, _p99`, `e2e_s_p50`, `out_tok_s` and `total_tok_s`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
from pydantic import ConfigDict, Field

from sim.measured.client import COLUMNS as CLIENT_COLUMNS
from sim.measured.client import ClientStated, Guess, guesses, lengths_of, tasks_of
from sim.measured.client_metrics import means, seen_by_clients
from sim.measured.measured_run import MeasuredRun
from sim.measured.ordinary_command import words_of
from sim.measured.play import Play, played
from sim.measured.points import AT_ONCE, FIGURE_METRICS, Figures, Point, of_one_replica
from sim.measured.prediction import Prediction
from sim.measured.repeated_prompts import RepeatedPrompts
from sim.measured.server import Server
from sim.measured.stated import MOST, FlagsStated, ServerStated, is_sglang
from sim.measured.stated_server import SGLANG, server_stated
from sim.measured.tuned_on import is_tuned_on
from sim.scaling.always_on import AlwaysOn
from sim.scenarios import Scenario
from sim.schema import Config, ConfigError, OneOf, TraceError, parse_config
from sim.workload.arrivals.closed_loop import ClosedLoop
from sim.workload.lengths.base import Lengths

_MEASURED = {
    "ttft_ms_mean": ("ttft_mean_s", 1e-3), "ttft_ms_p50": ("ttft_p50_s", 1e-3), "ttft_ms_p99": ("ttft_p99_s", 1e-3),
    "tpot_ms_mean": ("tpot_mean_s", 1e-3), "tpot_ms_p50": ("tpot_p50_s", 1e-3), "tpot_ms_p99": ("tpot_p99_s", 1e-3),
    "e2e_s_p50": ("e2e_p50_s", 1.0), "out_tok_s": ("output_tok_per_s", 1.0), "total_tok_s": ("total_tok_per_s", 1.0),
}  # fmt: skip
_ENGINES = {"NIM": "trt_llm_2024", "vllm v0.11": "vllm_0_11"}  # files in conf/engine, by how an engine's name begins
_LAYOUT = ("replicas", "data_parallel", "enable_dp_attention")
SWEEP_OVERHEAD_S = 0.024  # what each request costs the vLLM of the closed-loop sweeps, as their description says
_SWEEP_REQUEST_S = 0.014  # the same from vLLM 0.15 on, beside what its prompt takes by the token
_SWEEP_TOKENIZER_US = 6.0  # both were set by TTFT of the rows of gpt-oss-120b on H100, vLLM 0.18
_SWEEP_DETOKENIZER_US = 12.0  # conf/engine/host/vllm_0_18.yaml, of the same rows; steps of 0.15 on H100 show none
_FRONT_END_SINCE, _DETOKENIZER_SINCE = (0, 15), (0, 16)
_AT_ONCE = r"all (\d+) requests sent at once"
_ASYNC_SINCE = "2026"  # vLLM schedules asynchronously by default from 0.14 on


class _Row(ClientStated):
    """The cells of one row, typed; an empty cell is not stated. Flags have the names that FlagsStated has for them."""

    model_config = ConfigDict(extra="ignore")  # A column that is not one of `_COLUMNS` has been refused before.

    source: str
    engine: str
    gpu: str
    model: str
    dtype: str | None = None
    kv_dtype: str | None = None
    tp: float = Field(1, gt=0)
    n_gpus: float | None = Field(None, gt=0)
    replicas: int | None = Field(None, gt=0)
    data_parallel: int | None = Field(None, gt=0)
    enable_dp_attention: bool = False
    input_len: float = Field(gt=0, le=MOST)
    output_len: float = Field(gt=0, le=MOST)
    concurrency: float | None = Field(None, ge=1, le=100_000)
    notes: str = ""


_FLAGS = tuple(name for name in FlagsStated.model_fields if name not in ("name", "host"))
_OF_SERVER = tuple(name for name in _Row.model_fields if name not in CLIENT_COLUMNS)
_COLUMNS = (*_OF_SERVER, *_FLAGS, "request_rate", *_MEASURED, *CLIENT_COLUMNS)
"""Every column that is understood; any other one is refused, because the row would be played without it."""


class _Lengths(Config):
    lengths: OneOf[Lengths]


class OperatingPoint(MeasuredRun):
    """One row of the file at `path`; `number` counts its rows from 0."""

    def __init__(self, path: str, row: dict[str, str], number: int):
        self._path, self._row, self._number = path, row, number
        self._title = name_of(row)
        self.name, self.source, self.model_id = f"{self._title} {number}", row["source"], row["model"] or None

    def predictions(self, play: Play) -> Iterator[Prediction]:
        """Every metric of the row, as means over replications; its stage is its number. Raises SimError."""
        row = self._row
        scenario, measured = scenario_of(row, play), _measured(row)
        if play.print_commands:
            play.note(f"{self.name}: llm-traffic-sim {' '.join(words_of(scenario, _engine(row)[0]))}")
        tuned_on = is_tuned_on(row["source"], row["gpu"])
        usual = Prediction(self._title, self._number, "", 0.0, tuned_on=tuned_on, family=family_of(row))
        for metric, predicted in self._means(row, scenario, play, play.replications).items():
            yield usual._replace(metric=metric, predicted=predicted, measured=measured.get(metric))
        for guess in guesses(row):
            for metric, predicted in self._under(guess, play).items():
                yield usual._replace(
                    metric=metric, predicted=predicted, measured=measured.get(metric), guess=str(guess)
                )

    def _under(self, guess: Guess, play: Play) -> dict[str, float]:
        """The metrics with the other value of a guess, played once; none where the server cannot have that value."""
        row = self._row | {guess.column: guess.other}
        try:
            return self._means(row, scenario_of(row, play), play, 1)
        except ConfigError:
            return {}

    def _means(self, row: dict[str, str], scenario: Scenario, play: Play, replications: int) -> dict[str, float]:
        n_warmup = parse_config(_Row, row).n_warmup_requests
        found = [
            seen_by_clients(played(scenario, k, lambda line: play.note(f"{self.name}: {line}")), slice(n_warmup, None))
            for k in range(replications)
        ]
        return means(found)

    def points(self) -> tuple[list[Point], list[str]]:
        """The row as a closed loop; a burst is left out. Lengths that are spread are drawn as the row is played."""
        client = parse_config(_Row, self._row)
        if not self._row.get("concurrency"):
            return [], [f"{self.name}: {AT_ONCE}"]
        if client.n_distinct_prompts:
            return [], [f"{self.name}: left out, its prompts repeat: the prefix cache decides how long they take"]
        scenario, measured = scenario_of(self._row, Play()), _measured(self._row)
        closed_loop = cast(ClosedLoop, scenario.arrivals)
        inputs, outputs = scenario.lengths.draw(np.random.default_rng(0), closed_loop.n_tasks or 1)
        point = Point(
            self.name,
            self._path,
            float(inputs.mean()),
            float(outputs.mean()),
            Figures(*(measured.get(metric) for metric in FIGURE_METRICS)),
            closed_loop.n_clients,
            requests=closed_loop.n_tasks,
            lengths=tuple(zip(inputs.tolist(), outputs.tolist(), strict=True)),
            tensor_parallel=scenario.engine.tensor_parallel,
            server=Server(scenario.gpu, scenario.model, scenario.engine),
        )
        replicas = cast(AlwaysOn, scenario.scaling).n_replicas
        shared = of_one_replica(point, replicas)
        if shared is None:
            return [], [f"{self.name}: left out, its clients cannot be shared by {replicas} replicas"]
        return [shared], []


def _measured(row: dict[str, str]) -> dict[str, float]:
    try:
        return {metric: float(row[column]) * unit for column, (metric, unit) in _MEASURED.items() if row.get(column)}
    except ValueError as error:
        raise TraceError(f"a measured column: {error}") from None


def name_of(row: dict[str, str]) -> str:
    """Model, number format, card, tensor parallelism, lengths and load, in a few words."""
    at_once = re.search(_AT_ONCE, row.get("notes", ""))
    burst = f"burst of {at_once[1] if at_once else '?'}"
    load = f"c{_whole(row['concurrency'])}" if row.get("concurrency") else burst
    shape = f"{_whole(row['input_len'])}x{_whole(row['output_len'])}"
    model = row["model"].rpartition("/")[2]
    return f"{_first_word(row['engine'])} {model} {row['dtype']} {row['gpu']} tp{_whole(row['tp'])} {shape} {load}"


def family_of(row: dict[str, str]) -> str:
    """Rows of one engine, model and card; bursts apart from closed loops."""
    kind = "" if row.get("concurrency") else " burst"
    return f"{_first_word(row['engine'])} {row['model'].rpartition('/')[2]} {row['gpu']}{kind}"


def scenario_of(row: dict[str, str], play: Play) -> Scenario:
    """The row as a Scenario: its clients, its lengths, its server; no prompt repeats another."""
    if row.get("request_rate"):
        raise TraceError("request_rate: a row is a closed loop or a burst; give concurrency instead")
    client = parse_config(_Row, row)
    n_clients, n_tasks = tasks_of(row, client, int(client.concurrency) if client.concurrency else None, _burst(row))
    engine, flags = _engine(row)
    flags |= {name: row[name] for name in _FLAGS if row.get(name)}
    stated = {"tensor_parallel": row.get("tp")} | {k: row.get(k) for k in ("gpu", "model", "dtype", "kv_dtype")}
    stated |= {name: row.get(name) for name in _LAYOUT}
    run = parse_config(ServerStated, stated | {"engine": {"name": row["engine"]} | flags})
    server = server_stated(run, play, engine=engine)
    arrivals = {"kind": "closed_loop", "n_clients": n_clients, "n_tasks": n_tasks, "ramp_s": client.ramp_s}
    lengths = lengths_of(row, client)
    if client.tokenizer_us_per_token:
        mean_prompt = parse_config(_Lengths, {"lengths": lengths}).lengths.mean_input_tokens
        host_s = server.engine.request_overhead_s + 1e-6 * client.tokenizer_us_per_token * mean_prompt
        server = replace(server, engine=server.engine.model_copy(update={"request_overhead_s": host_s}))
    load: dict[str, Any] = {"arrivals": arrivals, "lengths": lengths, "horizon_s": None}
    if client.n_distinct_prompts:
        if not server.engine.prefix_caching:
            raise TraceError("n_distinct_prompts: prompts repeat only for a prefix cache; say prefix_caching = true")
        load["tasks"] = RepeatedPrompts(n_distinct=client.n_distinct_prompts)
    return server.scenario(**load)


def _engine(row: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """The file in conf/engine, and how the row's server differed from it."""
    for begins, file in _ENGINES.items():
        if row["engine"].startswith(begins):
            return file, {"prefix_caching": False}
    notes = row.get("notes", "")
    dated = re.search(r"\b20\d\d-\d\d-\d\d\b", notes)
    flags: dict[str, Any] = {"prefix_caching": False}
    if is_sglang(row["engine"]):
        return SGLANG, flags
    flags["async_scheduling"] = dated is not None and dated[0] >= _ASYNC_SINCE
    if "sweep" in notes:
        flags |= _of_sweep(row["engine"])
    return "vllm", flags


def _of_sweep(engine: str) -> dict[str, Any]:
    """What a prompt and an answer cost the host of a closed-loop sweep, by the version of vLLM.

    Rows of 2025 state no version; builds of a day count as new.
    """
    found = re.search(r"\bv?(\d+)\.(\d+)", engine)
    version = (int(found[1]), int(found[2])) if found else (99, 0) if "nightly" in engine else (0, 0)
    if version < _FRONT_END_SINCE:
        return {"request_overhead_s": SWEEP_OVERHEAD_S}
    host = {"tokenizer_us_per_token": _SWEEP_TOKENIZER_US}
    if version >= _DETOKENIZER_SINCE:
        host["detokenizer_us_per_token"] = _SWEEP_DETOKENIZER_US
    return {"request_overhead_s": _SWEEP_REQUEST_S, "host": host}


def _burst(row: dict[str, str]) -> int:
    """Requests of a burst, as the notes say; 0 for a closed loop. Raises TraceError for a row that is neither."""
    found = re.search(_AT_ONCE, row.get("notes", ""))
    if not found and not row.get("concurrency"):
        raise TraceError("has neither a concurrency nor a number of requests sent at once")
    return int(found[1]) if found else 0


def _first_word(text: str) -> str:
    return text.split(maxsplit=1)[0] if text.strip() else "?"


def _whole(text: str | None) -> str:
    try:
        return f"{float(text or 1):g}"
    except ValueError:
        return str(text)


def rows_of(path: str, text: str) -> list[dict[str, str]]:
    """The rows of the file, blank where a cell is missing. Raises TraceError."""
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows = [{k: v or "" for k, v in row.items() if k} for row in reader]
    except (ValueError, csv.Error) as error:
        raise TraceError(f"{path}: is not a CSV of text: {error}") from None
    needed = ("source", "engine", "gpu", "model", "dtype", "tp", "input_len", "output_len")
    missing = [name for name in needed if name not in (reader.fieldnames or ())]
    if missing:
        raise TraceError(f"{path}: column {missing[0]!r}: is missing")
    if not rows:
        raise TraceError(f"{path}: has no row below its header")
    unknown = [name for name in rows[0] if name not in _COLUMNS]
    if unknown:
        raise TraceError(f"{path}: column {unknown[0]!r}: is not one of {', '.join(_COLUMNS)}")
    return rows
