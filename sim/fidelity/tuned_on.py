"""The measured runs that constants in conf/ were set by; agreement with these proves less than with the others."""

TUNED_ON = (
    "ai-dynamo/aiconfigurator",  # fp8, mixture-of-experts and quantised-layer constants of conf/gpu/h100_sxm.yaml
    "NVIDIA NIM",  # conf/engine/tensorrt_llm_2024.yaml
    "rtx4090-",  # conf/gpu/rtx_4090.yaml, step overhead of conf/engine/vllm.yaml
    "rtxpro6000-",  # conf/gpu/rtx_pro_6000.yaml
    "bt-h100-llama-2-",  # gemm, weight and KV read, layer, sequence and all-reduce constants of conf/gpu/h100_sxm.yaml
)
"""How the names of these runs begin. Overloaded runs were never used."""


def is_tuned_on(experiment: str) -> bool:
    """Whether some constant was set by looking at this run."""
    return experiment.startswith(TUNED_ON)
