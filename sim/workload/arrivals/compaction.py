"""Another rule by which an agent compacts its context, for the sessions of a log."""

from __future__ import annotations

from pydantic import Field, model_validator

from sim.schema import Config


class Compaction(Config):
    """The sessions of a log as they would have been with an earlier compaction, recomputed from their turns.

    Before a call whose prompt and answer would be over `at_tokens`, the agent asks for a summary of its context, in a
    call of its own: the prompt is the call before and its answer, the answer `summary_tokens` long. Then the context
    goes on as the first prompt of the session, the summary, and what the call adds to the conversation. What was added
    stays as recorded, and so do answers and waits; a prompt that the log itself begins anew, as after a compaction of
    its own, is left as it is.
    """

    at_tokens: int | None = Field(
        None, ge=1, description="prompt and answer of a call beyond which its context is compacted; null: as recorded"
    )
    summary_tokens: int = Field(2000, ge=1, description="tokens of the summary in place of the conversation")

    @model_validator(mode="after")
    def _gains(self) -> Compaction:
        if self.at_tokens is not None and self.at_tokens <= self.summary_tokens:
            raise ValueError(f"at_tokens = {self.at_tokens}: must be > summary_tokens = {self.summary_tokens}")
        return self
