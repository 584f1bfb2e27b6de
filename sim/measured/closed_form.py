"""The figures of an operating point in closed form: a balance of sequences, steps and prompts, without simulation.

With n sequences decoding, a step takes d(n) at the mean context, and a prompt adds c(n) to the steps that carry it.
If x prompts enter per step, the mean step is T = d + x c; a request decodes for D = output - 1 steps, so Little's law
gives n = x D; and N clients complete X = x / T = N / (time in the server) requests per second, bounded by the slots,
the KV memory and the token budget. TTFT of a closed loop is what Little's law leaves: N / X - D T.

It neglects waves (clients with equal lengths stay in step) and the spread of lengths: `fit` corrects both with the
simulator.
"""

from __future__ import annotations

from math import inf

from sim.hardware.fits import kv_tokens_of
from sim.measured.points import Figures, Point
from sim.measured.server import Server

_ROUNDS = 200
"""Most iterations of the fixed point."""
_CLOSE = 1e-9
"""Relative change below which an iteration has settled."""


class Balance:
    """Predicts operating points of one server. Its step-time model is built once, when the object is made."""

    def __init__(self, server: Server):
        self._engine = engine = server.engine
        self._step = engine.step_time.build(server.gpu, server.model, engine)
        self._kv_tokens = kv_tokens_of(server.gpu, server.model, engine)

    @property
    def shortest_step_s(self) -> float:
        """Seconds of a decode step of one sequence without context."""
        return self._step.decode_s(1)

    def prompt_s(self, point: Point, n: float = 0.0) -> float:
        """Seconds that one prompt adds to the steps that compute it, beside n decoding sequences.

        With n = 0 the steps are the prompt's alone, and their whole time counts.
        """
        context, prompt = n * (point.input_tokens + point.output_tokens / 2), max(1, round(point.input_tokens))
        budget = max(1, int(self._engine.max_num_batched_tokens - n * self._engine.tokens_per_decode))
        plain_s = self._decode_s(n, context)
        past, total_s = 0, 0.0
        while past < prompt:
            new = min(budget, prompt - past)
            chunk = (new, past, past + new >= prompt)
            total_s += self._step.step_s(int(n), context, [chunk]) - self._decode_s(int(n), context)
            past += new
        return total_s if n else total_s + plain_s

    def _decode_s(self, n: float, context: float) -> float:
        below = int(n)
        low = self._step.decode_s(below) if below else 0.0
        high = self._step.decode_s(below + 1)
        base = high if n < 1 and n > 0 else low + (n - below) * (high - low)
        return base + self._step.context_s * context

    def predict(self, point: Point) -> Figures:
        """The figures of the steady state, by iterating step time and number of sequences to their fixed point."""
        engine, steps = self._engine, max(point.output_tokens - 1, 0.0)
        mean_context = point.input_tokens + point.output_tokens / 2
        slots = max(1.0, min(engine.most_running, self._kv_tokens / mean_context))
        ready_s, most_per_s, clients = engine.request_overhead_s, inf, point.concurrency
        if engine.host is not None:
            ready_s += engine.host.prompt_token_s * point.input_tokens
            most_per_s = engine.host.requests_per_s(point.input_tokens, point.output_tokens)
        n, busy = (min(clients, slots), 1 - 1 / clients) if clients else (1.0, 1.0)
        step_s, rate, inside_s = self._decode_s(n, n * mean_context), 0.0, 0.0
        for _ in range(_ROUNDS):
            decode_s = self._decode_s(n, n * mean_context)
            prompt_s = self.prompt_s(point, n)
            begin_s = busy * (0.5 + engine.async_scheduling) * step_s + prompt_s + (decode_s if n >= 1 else 0.0)
            inside_s = begin_s + steps * step_s
            if clients:
                rate = min(clients / (ready_s + inside_s), slots / inside_s, most_per_s)
            elif point.rate_per_s:
                rate = min(point.rate_per_s, slots / inside_s, most_per_s)
                busy = min(1.0, rate * inside_s)
            per_step = rate * step_s
            fits = (engine.max_num_batched_tokens - n * engine.tokens_per_decode) / point.input_tokens
            if per_step > fits > 0:
                per_step = fits
                rate = per_step / step_s
            # Prompts slow down decoding only while other requests are inside: a request that is alone (`busy` near 0)
            # never decodes during a prompt step, since the only prompt is its own.
            after_s = decode_s + busy * per_step * prompt_s
            after_n = min(slots, max(per_step * steps, 1.0 if steps else 0.0))
            settled = abs(after_s - step_s) < _CLOSE * step_s and abs(after_n - n) < _CLOSE * max(n, 1.0)
            step_s, n = 0.5 * (step_s + after_s), 0.5 * (n + after_n)
            if settled:
                break
        if clients:
            ttft_s = max(clients / rate - steps * step_s, ready_s + prompt_s)
        else:
            load = min(rate * prompt_s, 0.95)
            ttft_s = ready_s + begin_s + 0.5 * prompt_s * load / (1 - load)
        return Figures(ttft_s, step_s if steps else None, rate * point.output_tokens)
