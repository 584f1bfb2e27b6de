"""What takes replicas away before their work is done, and what becomes of that work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sim.schema import Config


class SpotMarket(Config):
    """GPUs that their provider may take back.

    Law: a replica's life from the moment its GPU is there is exponential with mean `mean_lifetime_s`, whatever the
    correlation. A share `zone_event_fraction` of all interruptions comes from zone events, Poisson in each zone, which
    take each replica there with probability `zone_hit_fraction`; the others come to each replica alone. New replicas go
    to the zone with the fewest; for `zone_outage_s` after an event a zone grants none.
    """

    mean_lifetime_s: float = Field(gt=0, description="mean time from getting a GPU to its interruption")
    notice_s: float = Field(ge=0, description="between the warning and the loss: nothing more is sent to the replica")
    n_zones: int = Field(ge=1, description="that the fleet is spread over")
    zone_event_fraction: float = Field(ge=0, le=1, description="share of the interruptions that hit a zone at once")
    zone_hit_fraction: float = Field(gt=0, le=1, description="probability that a zone event takes a replica there")
    zone_outage_s: float = Field(0.0, ge=0, description="no new GPU in a zone for so long after its event")
    on_demand_fallback: bool = Field(
        False, description="a replica that finds no spot GPU at once gets one on demand, which is never taken back"
    )


class Reliability(Config):
    """Losses of replicas, and the fate of the requests on them. Every request keeps an outcome.

    A lost replica leaves at once, with its KV memory. Requests that it was serving go to the head of the fleet's queue
    and are tried again on another, or fail. `resume`: the gateway has kept the tokens generated so far and sends them
    along, and the new replica computes them as a prompt (NVIDIA Dynamo's request migration). `restart`: they are
    generated again, and the first token counts when it comes again. The scaler replaces the replica; that is a cold
    start.
    """

    gpu_mtbf_hours: float | None = Field(
        None, gt=0, description="mean hours between failures of a GPU, exponential: n GPUs fail n times as often"
    )
    spot: SpotMarket | None = Field(None, description="null: GPUs that the provider never takes back")
    drain_limit_s: float | None = Field(
        None, ge=0, description="a replica that the scaler gives up is lost after so long, empty or not; null: no limit"
    )
    lost_requests: Literal["resume", "restart", "fail"] = Field(
        "restart", description="what becomes of requests on a replica that is lost"
    )
    max_retries: int = Field(5, ge=0, description="a request that is lost once more fails")

    @property
    def takes_replicas(self) -> bool:
        """Whether anything but the scaler ends a replica's life."""
        return self.gpu_mtbf_hours is not None or self.spot is not None
