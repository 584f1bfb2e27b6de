"""KV tiers: memory of the host, a local disk or a remote store, for KV blocks that the GPUs have no room for."""

from __future__ import annotations

from pydantic import Field

from sim.hardware.fits import kv_bytes_per_token
from sim.hardware.flags import EngineFlags
from sim.hardware.model import Model
from sim.schema import Config
from sim.units import GB


class KvTier(Config):
    """One tier behind the KV memory of the GPUs. The rules are in `sim.engine.schedulers.tiered`."""

    capacity_gb: float = Field(gt=0, description="of each replica, for all its GPUs together; of all, if shared")
    gb_per_s: float = Field(gt=0, description="loaded into each GPU of a replica at once; to all together, if shared")
    latency_s: float = Field(
        0.0, ge=0, description="of each load, however short; the engine's notice of its end included"
    )
    shared: bool = Field(False, description="one store and one link for all replicas of a pool")

    def blocks(self, model: Model, engine: EngineFlags) -> int:
        """KV blocks that it holds: as vLLM counts, bytes / (bytes of a block on one GPU x GPUs), rounded down."""
        block_bytes = engine.block_tokens * kv_bytes_per_token(model, engine) * engine.tensor_parallel
        return int(self.capacity_gb * GB // block_bytes)

    def block_s(self, model: Model, engine: EngineFlags) -> float:
        """Seconds that one block takes on the link."""
        block_bytes = engine.block_tokens * kv_bytes_per_token(model, engine)
        return block_bytes * (engine.tensor_parallel if self.shared else 1) / (self.gb_per_s * GB)
