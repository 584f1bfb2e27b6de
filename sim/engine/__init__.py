"""IN TIME: one replica with continuous batching, simulated from one change of its batch to the next.

`replica` lets simulated time pass. It asks a `scheduler` (first come, first served; others in `schedulers`) what the
next step computes, and a step time (sim.hardware.step_time) how many seconds the step takes. `sequence` is one request
in a batch, `kv_memory` the KV blocks with their prefix cache, `leap` the arithmetic of many equal steps at once,
`leftovers` what a lost replica leaves of its requests. `assembly` builds replicas from a config; `saturation` measures
how many tokens per second one replica can serve.
"""
