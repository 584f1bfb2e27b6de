"""WHERE REPLICAS COME FROM and what takes them away: GPUs, nodes, cold starts, failures, spot."""
