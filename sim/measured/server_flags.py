"""The options of a command line that describe a server. It loads nothing of the simulator, so that help is quick."""

from __future__ import annotations

import argparse
from pathlib import Path

FLAGS = {
    "tensor_parallel": int, "max_num_seqs": int, "max_num_batched_tokens": int, "gpu_memory_utilization": float,
    "weight_dtype": str, "kv_dtype": str,
}  # fmt: skip


def add_server_flags(parser: argparse._ActionsContainer, gpu: str | None) -> None:
    """The options that describe a server; `gpu` is the card where none is named, None where one has to be."""
    default = " (default: %(default)s)" if gpu else ""
    parser.add_argument("--gpu", default=gpu, help=f"the card, a file of conf/gpu{default}")
    parser.add_argument("--model", help="a file of conf/model; default: the one the results name")
    parser.add_argument("--model-config", type=Path, help="config.json of a model that conf/model has not")
    parser.add_argument("--engine", help="a file of conf/engine (default: sglang where the results say so, else vllm)")
    for name, kind in FLAGS.items():
        parser.add_argument("--" + name.replace("_", "-"), type=kind, help="as the server was started with")
    parser.add_argument("--config-dir", type=Path, help="a folder with your own gpu/, model/ or engine/ YAML files")
