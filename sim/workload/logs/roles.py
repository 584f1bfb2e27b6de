"""What a column of a request log can mean, and how a user says which column means what."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sim.moment_zero import zone_of
from sim.schema import Config

Unit = Literal["auto", "s", "ms", "us", "ns", "excel_days"]
SECONDS_PER = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "excel_days": 86400.0}

MOMENTS = ("arrived", "ended", "first_token")
DURATIONS = ("duration", "ttft", "wait", "tool_wait", "wait_after")
TOKENS = ("input", "output", "cached", "cache_written", "reasoning")
NAMED = ("model", "application", "user", "status")
OTHERS = (
    "session",
    "parent",
    "id",
    "turn",
    "n_requests",
    "total",
    "priority",
    "prefix",
    "prefix_blocks",
    "block_tokens",
)
KEPT = ("continues", "shared_prefix", "prefix_tokens", "answer_repeated")
OWN = ("wait_for", *KEPT)
ROLES = (*MOMENTS, *DURATIONS, *TOKENS, *NAMED, *OTHERS, *OWN)

Names = str | list[str] | None


class Columns(Config):
    """Which column (or dotted path into nested JSON) plays which role. A list: the first of them that the log has;
    `none`: no column does."""

    arrived: Names = Field(None, description="when the request was sent")
    ended: Names = Field(None, description="when its answer was complete")
    first_token: Names = Field(None, description="when its answer began")
    duration: Names = Field(None, description="from sent to complete")
    ttft: Names = Field(None, description="from sent to the first token")
    wait: Names = Field(None, description="tool or human time before the call, after the one before had ended")
    tool_wait: Names = Field(None, description="tool time to be added to `wait`")
    wait_after: Names = Field(None, description="tool or human time after the call, before the next one of its session")
    input: Names = Field(None, description="prompt tokens")
    output: Names = Field(None, description="generated tokens")
    cached: Names = Field(None, description="prompt tokens read from a prompt cache")
    cache_written: Names = Field(None, description="prompt tokens written to a prompt cache")
    reasoning: Names = Field(None, description="generated tokens that the user does not see")
    session: Names = Field(None, description="calls with the same value belong together")
    parent: Names = Field(None, description="id of the call that this one goes on from")
    id: Names = Field(None, description="of the call; repeated ones are set aside")
    turn: Names = Field(None, description="place of the call in its session")
    total: Names = Field(None, description="all tokens of the call; tells whether cached ones are inside the input")
    model: Names = None
    application: Names = None
    user: Names = None
    status: Names = Field(None, description="whether the call succeeded")
    n_requests: Names = Field(None, description="how many requests the row sums up")
    priority: Names = Field(None, description="lower = more urgent")
    prefix: Names = Field(None, description="texts that the prompt begins with, as name:tokens")
    prefix_blocks: Names = Field(None, description="ids of the prompt's blocks of tokens; equal leading ids are shared")
    block_tokens: Names = Field(None, description="tokens of such a block")
    wait_for: Names = Field(None, description="ids of the calls that must have ended before")
    continues: Names = Field(None, description="tokens that the call before has left for this one; 0: begins anew")
    shared_prefix: Names = Field(None, description="leading tokens that prompts of other tasks begin with, too")
    prefix_tokens: Names = Field(None, description="leading tokens that other prompts may share")
    answer_repeated: Names = Field(None, description="1: later prompts go on from the prompt and its answer")

    def of(self, role: str) -> list[str]:
        """The names given for a role, in order of preference."""
        names = getattr(self, role)
        return [] if names is None else [names] if isinstance(names, str) else list(names)


class TimeFormat(Config):
    """How moments are written."""

    unit: Unit = Field("auto", description="of numbers; auto: as the column's name or its format says")
    format: str | None = Field(None, description="of dates, as strptime has it; null = ISO 8601")
    zone: str | None = Field(
        None,
        description="of dates that name none, and of the log's hours and weekdays, such as Europe/Berlin; null = UTC",
    )

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            zone_of(zone)
        return zone


class Keep(Config):
    """Only rows with this value (or one of these) are replayed; null: all."""

    model: Names = None
    application: Names = None
    user: Names = None
    status: Names = None

    def of(self, role: str) -> list[str]:
        """The values to keep of a role; empty: all."""
        values = getattr(self, role)
        return [] if values is None else [values] if isinstance(values, str) else [str(value) for value in values]


Oddity = Literal["long_gap", "one_moment", "several_models", "sums", "repeated_ids"]
"""What is refused in a log unless `allow` names it."""


class LogOptions(Config):
    """A request log, and what its reader cannot know from the file alone."""

    path: str = Field(min_length=1, description="a file, a folder of parts or a glob")
    format: str = Field("auto", description="a preset of conf/log, or a YAML file like those; auto: by the keys found")
    columns: Columns = Columns()
    time: TimeFormat = TimeFormat()
    cached: Literal["auto", "inside", "beside"] = Field(
        "auto", description="of the input: whether it counts cached tokens"
    )
    moment_zero: Literal["first_row", "hour", "day"] = Field(
        "first_row",
        description="when second 0 is: the first row, or the full hour or midnight of time.zone before it",
    )
    keep: Keep = Keep()
    without_usage: Literal["drop", "refuse", "impute"] = Field(
        "drop", description="rows without token counts: set aside, an error, or given those of the row before"
    )
    prompts: Literal["auto", "whole", "added"] = Field(
        "auto", description="of later calls of a session: whether the input is the whole prompt or what was added"
    )
    gaps: Literal["auto", "start_to_start", "end_to_start"] = Field(
        "auto", description="what lies between two calls of a session where no wait and no end is recorded"
    )
    application_from: Literal["model", "application", "user"] | None = Field(
        None, description="each value of this column becomes an application"
    )
    block_tokens: int | None = Field(None, ge=1, description="of a prefix block; null = as the format or the rows say")
    allow: list[Oddity] = Field([], description="oddities that are no mistake in this log")
    encoding: str | None = Field(None, description="of text; null = UTF-8, UTF-16 where the file says so")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="of CSV; null = found from its header")
    decimal: Literal[".", ","] | None = Field(
        None, description="decimal sign; null = a comma in semicolon files that have it"
    )
    thousands: Literal[".", ",", " ", "'", "_"] | None = Field(None, description="sign between thousands")

    @model_validator(mode="after")
    def _signs_differ(self) -> LogOptions:
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError("decimal and thousands must differ")
        return self

    @property
    def reading(self) -> dict[str, Any]:
        """Everything that decides what is read from the file, as plain data."""
        return {name: getattr(self, name) for name in LogOptions.model_fields} | {
            name: getattr(self, name).model_dump() for name in ("columns", "time", "keep")
        }
