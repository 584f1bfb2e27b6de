"""Command lines that a page tells a reader to type, played in order in one folder.

Importing the package takes longer than most of these commands. So one process imports it, and plays every command line
of `llm-traffic-sim` in a fork of itself: a fork has the imported modules, and shares nothing that it changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

LIMIT_S = 300


def play(commands: list[list[str]], folder: Path, code: Path) -> list[str]:
    """Play command lines in a folder, with the package at `code`; what each printed. Each must succeed."""
    process = subprocess.Popen(
        [sys.executable, __file__], cwd=folder, env=os.environ | {"PYTHONPATH": str(code)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    printed = []
    with process:
        assert process.stdin and process.stdout
        for words in commands:
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
            done = json.loads(process.stdout.readline())
            assert done["code"] == 0, f"{' '.join(words)}\n{done['out']}\n{done['err']}"
            printed.append(done["out"])
        process.stdin.close()
    return printed


def _played(words: list[str]) -> dict[str, Any]:
    if words[0] == "llm-traffic-sim" or words[:3] == ["python", "-m", "sim"]:
        return _forked(words[1:] if words[0] == "llm-traffic-sim" else words[3:])
    assert words[0] == "python", f"{' '.join(words)}: not a command that can be played"
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, timeout=LIMIT_S)
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def _forked(words: list[str]) -> dict[str, Any]:
    """Play one command line of the program in a fork; its exit code and both of its streams."""
    from sim.__main__ import main

    streams = [os.memfd_create(name) for name in ("out", "err")]
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        code = 1
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    read = [os.pread(stream, os.fstat(stream).st_size, 0).decode() for stream in streams]
    for stream in streams:
        os.close(stream)
    return {"code": os.waitstatus_to_exitcode(status), "out": read[0], "err": read[1]}


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # as `python -m` has it, in place of the folder of this file
    for name in ("sim.cli.run", "sim.report.figures", "sim.study.job", "rich.console", "PIL.PngImagePlugin"):
        import_module(name)
    import_module("sim.scenarios").compose_config()  # the grammar's tables and the files of conf/, read once for all
    for line in sys.stdin:
        print(json.dumps(_played(json.loads(line))), flush=True)
