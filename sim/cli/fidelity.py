"""Play measured runs of real servers again and print predicted beside measured.

With --overlay, errors are printed before and after: those of the list's constants, conf/gpu, and those of the overlay.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.measured.server_flags import FLAGS, add_server_flags
from sim.schema import ConfigError

if TYPE_CHECKING:
    from sim.measured.other_constants import OtherConstants
    from sim.measured.prediction import Prediction


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llm-traffic-sim fidelity", description=__doc__)
    parser.add_argument("file", type=Path, help="measured runs, or results of a load generator, or a CSV")
    parser.add_argument("--out", type=Path, help="write every prediction to this JSON file")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--replications", type=int, default=5, help="repetitions to average over (default 5)")
    parser.add_argument("--as-sent", action="store_true", help="send times of requests/<id>.csv, not random ones")
    parser.add_argument("--commands", action="store_true", help="print the ordinary command that plays the same run")
    parser.add_argument(
        "--overlay",
        type=Path,
        action="append",
        default=[],
        metavar="YAML",
        help="a card with your own constants, as calibrate writes it beside its engine: errors before and after",
    )
    parser.add_argument("--brief", action="store_true", help="print the mean errors only")
    described = parser.add_argument_group("the server, where the file does not describe it")
    add_server_flags(described, gpu=None)
    return parser


def main(argv: Sequence[str]) -> int:
    """Predict, print and write. Raises SimError for a file that holds no measured runs."""
    options = _parser().parse_args(argv)
    from sim.hardware.model import Model
    from sim.measured.described_server import server_described
    from sim.measured.other_constants import AS_LISTED, read_constants
    from sim.measured.predict import predict
    from sim.measured.prediction import as_text
    from sim.printable import printable

    given = [name for name in ("model", "config_dir", *FLAGS) if getattr(options, name) is not None]
    if given and options.gpu is None:
        raise ConfigError(f"--{given[0].replace('_', '-')}: describes a server and needs --gpu as well")
    _refuse_bad_out(options.out)
    unknown = Model.from_hugging_face(options.model_config) if options.model_config else None
    server_of = partial(server_described, options) if options.gpu else None
    overlay = read_constants("--overlay", options.overlay)
    rows = predict(
        options.file, options.replications, options.only, options.as_sent, options.commands, unknown, server_of,
        constants=overlay, before=AS_LISTED if options.overlay else None,
    )  # fmt: skip
    for line in _of_overlay(options.overlay, overlay, options.file, rows):
        print(printable(line))
    print(printable(as_text(rows, brief=options.brief)))
    if options.out:
        columns = ["experiment", "stage", "metric", "predicted", *(["before"] if options.overlay else [])]
        _write(options.out, [{name: getattr(row, name) for name in columns} for row in rows if not row.guess])
    return 0


def _of_overlay(
    paths: Sequence[Path], overlay: OtherConstants, file: Path, rows: Sequence[Prediction]
) -> Iterator[str]:
    """What before and after are, and what makes the second say little."""
    if not paths:
        return
    yield f"before: constants of conf/gpu; after: of {', '.join(map(str, paths))}"
    if all(row.before == row.predicted for row in rows):
        yield f"note: no prediction changes: the overlay is of {', '.join(overlay.gpus)}, which no run was measured on"
    for path in paths:
        if re.search(rf"\bFrom .*{re.escape(file.name)}", path.read_text(encoding="utf-8").partition("\n")[0]):
            yield f"note: {path.name} was fitted to {file.name} itself: its errors say little of another run"


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
