"""Host time: what the CPU processes around an engine take per token of prompts and answers."""

from __future__ import annotations

from math import inf

from pydantic import Field, model_validator

from sim.schema import Config


class HostTime(Config):
    """Tokenizers in front of the engine of each replica, and detokenizers that each of its steps waits for.

    Both are beside `request_overhead_s`, a delay that nothing shares. A tokenizer does one prompt at a time (the rules
    are in `sim.engine.hosted`). Detokenizers share the tokens of a step, which takes their time besides its own; the
    host time of that kind that a card was fitted with is its `per_sequence_us`. Few workers cap what a replica serves.

    >>> host = HostTime(tokenizer_us_per_token=10, detokenizer_us_per_token=100, detokenizer_workers=2)
    >>> host.requests_per_s(input_tokens=10_000, output_tokens=100), host.requests_per_s(1000, 1000)
    (10.0, 20.0)
    """

    tokenizer_us_per_token: float = Field(0.0, ge=0, description="of a prompt, cached tokens too, before the engine")
    tokenizer_workers: int = Field(1, gt=0, description="of a replica; each does one prompt after the other")
    detokenizer_us_per_token: float = Field(0.0, ge=0, description="of an answer, in the step that generates it")
    detokenizer_workers: int = Field(1, gt=0, description="of a replica; they share the tokens of a step")

    @model_validator(mode="after")
    def _takes_time(self) -> HostTime:
        if not self.tokenizer_us_per_token and not self.detokenizer_us_per_token:
            raise ValueError("needs tokenizer_us_per_token or detokenizer_us_per_token > 0; or say engine.host=null")
        return self

    @property
    def prompt_token_s(self) -> float:
        """Seconds of one worker per token of a prompt."""
        return self.tokenizer_us_per_token / 1e6

    @property
    def answer_token_s(self) -> float:
        """Seconds that each token of an answer adds to its step."""
        return self.detokenizer_us_per_token / 1e6 / self.detokenizer_workers

    def requests_per_s(self, input_tokens: float, output_tokens: float) -> float:
        """The most that the workers of a replica do of such requests: workers / (seconds per token x tokens)."""
        works = (
            (self.tokenizer_workers, self.prompt_token_s * input_tokens),
            (1, self.answer_token_s * output_tokens),
        )
        return min((workers / work_s for workers, work_s in works if work_s), default=inf)
