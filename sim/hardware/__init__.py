"""ON PAPER: GPUs, models, engine flags, what fits, how long a step takes. Nothing in this room knows simulated time.

`gpu`, `model` and `flags` are typed descriptions that a config fills; `engine` joins the flags with a step time.
`fits` turns them into KV blocks or a refusal, `step_time` into seconds per step, `capacity` into requests per second.
`names` and `hugging_face` find a description by the name or the config.json under which the world knows it.
"""
