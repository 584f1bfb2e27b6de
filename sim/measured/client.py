"""What the client of a measured run did, as far as it is stated, and what is guessed where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import Field

from sim.measured.stated import MOST, Stated

SHAREGPT = "ShareGPT"
"""The word in a row's notes by which its lengths are those of that data set: their spread is not stated."""
_SWEEP = "uniform in [0.8L,L]"
_TASKS_PER_CLIENT = 10  # as the closed-loop sweeps state
_SHAREGPT_TASKS = 200  # per client, not stated: enough that the lengths drawn have their mean
_INPUT_CV, _OUTPUT_CV = 1.2, 1.0  # of ShareGPT; not stated by these runs; about what samples of it show
_SHAREGPT_LONGEST, _SHAREGPT_LONGEST_ELSE = 4096, 1000
_QUANTISED = ("fp8", "fp4", "nvfp4", "mxfp4")


class ClientStated(Stated):
    """The load generator's side of a run.

    Clients that all start at once with requests of one length stay in step: their prompts come in convoys, and TTFT is
    several times what it is with a ramp or with lengths that differ a little. So `ramp_s` and `length_low_fraction`
    decide TTFT of a closed loop as much as the server does.
    """

    n_requests: int | None = Field(None, gt=0, le=MOST)
    """Requests that were measured. Not stated: ten for each client."""
    n_warmup_requests: int = Field(0, ge=0, le=MOST)
    """Requests sent before those, by the same clients without a pause between, and not counted."""
    ramp_s: float = Field(0.0, ge=0, le=86_400)
    """Seconds over which the clients start, evenly. Not stated: all at once."""
    length_low_fraction: float | None = Field(None, ge=0, le=1)
    """Smallest length over the largest, with uniform lengths between; `input_len` and `output_len` are the largest."""
    n_distinct_prompts: int | None = Field(None, gt=0, le=MOST)
    """Prompts that the client has; request i repeats prompt i modulo this number. Not stated: no prompt repeats."""
    tokenizer_us_per_token: float = Field(0.0, ge=0, le=1e4)
    """Host time of a prompt before the engine has it, beside `request_overhead_s`; of the mean prompt for each."""
    input_cv: float | None = Field(None, ge=0, le=10)
    output_cv: float | None = Field(None, ge=0, le=10)
    """Standard deviation of lognormal lengths over their mean."""
    max_output_tokens: int | None = Field(None, gt=0, le=MOST)
    """Longest output of lognormal lengths: a burst lasts until the longest one has ended."""


COLUMNS = tuple(ClientStated.model_fields)
"""The columns of operating points that state what the client did."""


class Guess(NamedTuple):
    """A column that a row leaves open, what is played in its place, and the other value that it may have had."""

    column: str
    guessed: str
    other: str

    def __str__(self) -> str:
        return f"{self.column} {self.other}, not {self.guessed}"


def guesses(row: Mapping[str, str]) -> Iterator[Guess]:
    """What a row does not state and its figures depend on: the KV cache's format, and the longest output."""
    dtype = str(row.get("dtype") or "").lower()
    if not row.get("kv_dtype") and dtype.startswith(_QUANTISED):
        yield Guess("kv_dtype", "bf16", "fp8")
    if SHAREGPT in row.get("notes", "") and not row.get("max_output_tokens"):
        yield Guess("max_output_tokens", str(_SHAREGPT_LONGEST), str(_SHAREGPT_LONGEST_ELSE))


def tasks_of(row: Mapping[str, str], client: ClientStated, n_clients: int | None, n_at_once: int) -> tuple[int, int]:
    """Clients, and requests in all with those that are not counted."""
    per_client = _SHAREGPT_TASKS if SHAREGPT in row.get("notes", "") else _TASKS_PER_CLIENT
    measured = client.n_requests or (per_client * n_clients if n_clients else n_at_once)
    n_tasks = measured + client.n_warmup_requests
    return n_clients or n_tasks, n_tasks


def lengths_of(row: Mapping[str, str], client: ClientStated) -> dict[str, Any]:
    """The `lengths` group of a row: uniform, or lognormal where a spread is stated or the data set is ShareGPT."""
    bounds = [max(1.0, float(row[name])) for name in ("input_len", "output_len")]
    is_sharegpt = SHAREGPT in row.get("notes", "")
    if is_sharegpt or client.input_cv is not None or client.output_cv is not None:
        usual = (_INPUT_CV, _OUTPUT_CV) if is_sharegpt else (0.0, 0.0)
        cvs = [usual[i] if cv is None else cv for i, cv in enumerate((client.input_cv, client.output_cv))]
        longest = (_SHAREGPT_LONGEST, client.max_output_tokens or _SHAREGPT_LONGEST)
        spreads = (
            {"mean_tokens": mean, "cv": cv, "max_tokens": max(most, round(mean))}
            for mean, cv, most in zip(bounds, cvs, longest, strict=True)
        )
        return {"kind": "lognormal", **dict(zip(("input", "output"), spreads, strict=True))}
    low = 0.8 if _SWEEP in row.get("notes", "") else 1.0
    if client.length_low_fraction is not None:
        low = client.length_low_fraction
    inputs, outputs = (round(bound) for bound in bounds)
    return {"kind": "uniform", "max_input_tokens": inputs, "max_output_tokens": outputs, "low_fraction": low}
