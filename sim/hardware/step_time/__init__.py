"""HOW LONG ONE ENGINE STEP TAKES: the protocol that replicas are built on, and the laws a config can choose.

`model` holds the base of a choice, `StepTimeModel`; `roofline` is compiled with the hot path.
"""
