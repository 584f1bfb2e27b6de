"""Play measured runs of real servers again and print predicted beside measured."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sim.measured.server_flags import FLAGS, add_server_flags
from sim.schema import ConfigError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llm-traffic-sim fidelity", description=__doc__)
    parser.add_argument("file", type=Path, help="measured runs, or results of a load generator, or a CSV")
    parser.add_argument("--out", type=Path, help="write every prediction to this JSON file")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--replications", type=int, default=5, help="repetitions to average over (default 5)")
    parser.add_argument("--as-sent", action="store_true", help="send times of requests/<id>.csv, not random ones")
    parser.add_argument("--commands", action="store_true", help="print the ordinary command that plays the same run")
    parser.add_argument("--brief", action="store_true", help="print the mean errors only")
    described = parser.add_argument_group("the server, where the file does not describe it")
    add_server_flags(described, gpu=None)
    return parser


def main(argv: Sequence[str]) -> int:
    """Predict, print and write. Raises SimError for a file that holds no measured runs."""
    options = _parser().parse_args(argv)
    from sim.hardware.model import Model
    from sim.measured.described_server import server_described
    from sim.measured.predict import predict
    from sim.measured.prediction import as_text
    from sim.printable import printable

    given = [name for name in ("model", "config_dir", *FLAGS) if getattr(options, name) is not None]
    if given and options.gpu is None:
        raise ConfigError(f"--{given[0].replace('_', '-')}: describes a server and needs --gpu as well")
    _refuse_bad_out(options.out)
    unknown = Model.from_hugging_face(options.model_config) if options.model_config else None
    server_of = partial(server_described, options) if options.gpu else None
    rows = predict(
        options.file, options.replications, options.only, options.as_sent, options.commands, unknown, server_of
    )
    print(printable(as_text(rows, brief=options.brief)))
    if options.out:
        plain = [
            {k: getattr(row, k) for k in ("experiment", "stage", "metric", "predicted")}
            for row in rows
            if not row.guess
        ]
        _write(options.out, plain)
    return 0


def _refuse_bad_out(out: Path | None) -> None:
    if out is None:
        return
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"--out = {str(out)!r}: {'is a folder' if out.is_dir() else 'its folder does not exist'}")
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"--out = {str(out)!r}: its folder cannot be written to")


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    from sim.study.folder import write_json

    try:
        write_json(out, rows)
    except OSError as error:
        raise ConfigError(f"--out = {str(out)!r}: {error.strerror or error}") from None
