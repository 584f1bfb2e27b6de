"""HOW LONG ONE ENGINE STEP TAKES: the protocol that replicas are built on, and the models that a config can choose.

`protocol` says what a step time is. `model` holds `StepTimeModel`, the base class of a choice; `from_roofline` and
`affine` are its kinds. `roofline` does the arithmetic of the first and is compiled; `speculative` wraps any step time.
"""
