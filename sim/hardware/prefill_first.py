"""PrefillFirst: the options of a scheduler whose steps compute prompts or decode, never both (SGLang's)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sim.schema import Config


class PrefillFirst(Config):
    """How much one step of prompts takes up, and how much KV memory is kept free for answers under way.

    A request is admitted if its prompt and answer fit beside a share of what the running answers may still generate,
    the new-token ratio. It falls by the same amount in each decode step, and is estimated anew after a retraction. The
    rules are in `sim.engine.schedulers.prefill_first`.
    """

    max_prefill_tokens: int = Field(
        16_384, gt=0, description="tokens of the prompts that one step takes up; the first may exceed it"
    )
    new_token_ratio: float = Field(0.7, ge=0, le=1, description="share of the answers under way, at the start")
    least_new_token_ratio: float = Field(0.098, ge=0, le=1, description="what the share falls to")
    ratio_decay_steps: int = Field(600, gt=0, description="decode steps in which the share falls from one to the other")
    most_expected_tokens: int = Field(4096, gt=0, description="most tokens of one answer that an admission counts")
    retract_decode_steps: int = Field(
        20,
        ge=0,
        description="after a retraction, memory for this number of steps of all running requests counts as in use",
    )

    schedule_policy: Literal["fcfs", "lpm"] = Field(
        "fcfs", description="order of the queue: of arrival; or the longest prompt prefix in the cache first"
    )
    lpm_most_waiting: int = Field(128, gt=0, description="with lpm: a longer queue is served in order of arrival")
    lpm_shared_tokens: int = Field(
        32,
        gt=0,
        description="with lpm: requests with at most this number of prompt tokens in the cache that share at least "
        "this number with each other are one group; all but its first wait until the first one's prompt is cached",
    )

    @model_validator(mode="after")
    def _the_share_falls(self) -> PrefillFirst:
        if self.least_new_token_ratio > self.new_token_ratio:
            raise ValueError(
                f"least_new_token_ratio = {self.least_new_token_ratio:g}: must be <= new_token_ratio = "
                f"{self.new_token_ratio:g}"
            )
        return self
