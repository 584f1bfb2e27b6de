"""How replicas are lost before their work is done, and the fate of the requests on them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sim.schema import Config


class SpotMarket(Config):
    """GPUs that their provider may take back.

    Law: a replica's life from the moment its GPU is granted is exponential with mean `mean_lifetime_s`, however
    interruptions are correlated. A share `zone_event_fraction` of all interruptions comes from zone events, Poisson in
    each zone, which take each replica of the zone with probability `zone_hit_fraction`; the others hit one replica at a
    time. New replicas go to the zone with the fewest; for `zone_outage_s` after an event a zone grants none.
    """

    mean_lifetime_s: float = Field(gt=0, description="mean time from getting a GPU to its interruption")
    notice_s: float = Field(ge=0, description="seconds from warning to loss: no new request is sent to the replica")
    n_zones: int = Field(ge=1, description="zones that the fleet is spread over")
    zone_event_fraction: float = Field(ge=0, le=1, description="share of the interruptions that come from zone events")
    zone_hit_fraction: float = Field(
        gt=0, le=1, description="probability that a zone event takes a replica of the zone"
    )
    zone_outage_s: float = Field(0.0, ge=0, description="seconds after a zone event in which the zone grants no GPU")
    on_demand_fallback: bool = Field(
        False, description="a replica that finds no spot GPU at once gets one on demand, which is never taken back"
    )


class Reliability(Config):
    """Losses of replicas, and the fate of the requests on them. Every request keeps an outcome.

    A lost replica is gone at once, with its KV memory. The requests that it was serving go to the head of the fleet's
    queue and are tried again on another replica, or fail. `resume`: the gateway has kept the tokens generated so far
    and sends them along, and the new replica computes them as a prompt (NVIDIA Dynamo's request migration). `restart`:
    they are generated again, and TTFT is counted to the new first token. The scaler replaces the replica, by a cold
    start.
    """

    gpu_mtbf_hours: float | None = Field(
        None, gt=0, description="mean hours between failures of a GPU, exponential: n GPUs fail n times as often"
    )
    spot: SpotMarket | None = Field(None, description="null: GPUs that the provider never takes back")
    drain_limit_s: float | None = Field(
        None, ge=0, description="seconds after which a draining replica is lost with its requests; null: no limit"
    )
    lost_requests: Literal["resume", "restart", "fail"] = Field(
        "restart", description="the fate of requests on a replica that is lost"
    )
    max_retries: int = Field(5, ge=0, description="lost replicas that a request survives; with the next one it fails")

    @property
    def takes_replicas(self) -> bool:
        """Whether anything but the scaler ends a replica's life."""
        return self.gpu_mtbf_hours is not None or self.spot is not None
