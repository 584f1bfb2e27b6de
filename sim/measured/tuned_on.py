"""The measured runs that constants in conf/ were set by; agreement with these proves less than with the others."""

TUNED_ON = (
    ("bt-h100-llama-2-", ""),  # conf/gpu/h100_sxm.yaml and, scaled from it, the other cards; conf/engine/vllm.yaml
    ("ai-dynamo/aiconfigurator", ""),  # fp8, mixture-of-experts and quantised-layer constants of the same
    ("NVIDIA NIM", "H100"),  # conf/engine/trt_llm_2024.yaml; the A100 rows were left out
    ("gpustack/gpustack docs/performance-lab/qwen3-8b/", ""),  # conf/engine/vllm_0_11.yaml: step, request overhead
    ("rtx4090-", ""),  # three constants of conf/gpu/rtx_4090.yaml, moved a little from H100's
    ("rtxpro6000-", ""),  # three constants of conf/gpu/rtx_pro_6000.yaml, likewise
)
"""How the names of these runs (or their sources) and of their GPUs begin. Overloaded runs were never used.

The Qwen3-32B bursts of gpustack do not agree with the H100 SXM they are played on, and nothing was set by that: their
decode reads 65.5 GB of weights at 1.78 TB/s, 0.53 of that card's bandwidth and 0.89 of an H100 PCIe's. Played on an
H100 PCIe they are 18 % off in throughput and 6 % in TPOT, instead of 88 % and 44 %; only there was the reserve of
memory in conf/engine/vllm_0_11.yaml compared with another one.
"""


def is_tuned_on(run: str, gpu: str) -> bool:
    """Whether some constant was set by looking at this run."""
    return any(run.startswith(name) and gpu.startswith(card) for name, card in TUNED_ON)
