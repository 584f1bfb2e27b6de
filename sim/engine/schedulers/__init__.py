"""OTHER SCHEDULERS than first come, first served: by priority, without preemption, and for decoding only.

`priority`: the most urgent request first. `reserving`: a request is admitted when its whole answer fits into KV memory.
`decode_only`: the prompts were computed by another replica.
"""
