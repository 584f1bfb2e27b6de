"""The measured runs that constants in conf/ were set by; agreement with these proves less than with the others."""

TUNED_ON = (
    "bt-h100-llama-2-",  # gemm, weight and KV read, layer, sequence and all-reduce constants of conf/gpu/h100_sxm.yaml
)
"""How the names of these runs begin. Overloaded runs were never used."""


def is_tuned_on(experiment: str) -> bool:
    """Whether some constant was set by looking at this run."""
    return experiment.startswith(TUNED_ON)
