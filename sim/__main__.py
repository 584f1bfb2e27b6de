"""The command line: `llm-traffic-sim VERB ...`, or `python -m sim VERB ...`; without a verb, `run`.

Every verb is a module of `sim.cli` with a function `main(argv)` that returns the exit code. Whatever a verb refuses is
told in one line on standard error.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from sim._version import __version__

PROGRAM = "llm-traffic-sim"
DEFAULT_VERB = "run"
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; `argv` defaults to the words after the program's name. Returns the exit code.

    0: done. 1: a scenario of a sweep failed, or the reader of a pipe left. 2: bad input. 3: a broken conservation law,
    which is a defect of the simulator. 130: Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _replace_what_a_terminal_cannot_show()
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # A pipe that is closed by now raises here, where it is handled, and not when Python exits.
        return code
    except KeyboardInterrupt:
        return _refused("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it exits.
        return 1
    except Exception as error:
        from sim.errors import REFUSABLE, exit_code, one_line

        if not isinstance(error, REFUSABLE):
            raise
        return _refused(one_line(error), exit_code(error))


def verbs() -> dict[str, str]:
    """Each verb and the first line of what it does, read off the files of `sim.cli`: none of them is imported.

    >>> verbs()["sample-log"]
    'Write a small request log to try replay on.'
    """
    import ast  # Only help needs it.

    documented = {verb: ast.get_docstring(ast.parse(path.read_text("utf-8"))) for verb, path in _files().items()}
    return {verb: (text or "").partition("\n")[0] for verb, text in documented.items()}


def _files() -> dict[str, Path]:
    """The file of each verb, in order of the alphabet."""
    files = sorted(Path(__file__).with_name("cli").glob("[!_]*.py"))
    return {path.stem.replace("_", "-"): path for path in files}


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else ""
    if first in ("--version", "-V"):
        print(f"{PROGRAM} {__version__}")
        return 0
    if first in ("--help", "-h", "help"):
        print(_help())
        return 0
    known = _files()
    if first in known:
        verb, rest = first, words[1:]
    elif first == "" or first[0] in "-+~" or "=" in first:  # a flag, or key=value: what `run` takes
        verb, rest = DEFAULT_VERB, words
    else:
        return _refused(_unknown_verb(first, list(known)), 2)
    return import_module(f"sim.cli.{verb.replace('-', '_')}").main(rest)


def _unknown_verb(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {PROGRAM} {near[0]}?" if near else f"the verbs are {', '.join(known)}"
    return f"error: {word!r}: is not a verb, and is not of the form key=value; {hint}"


def _help() -> str:
    described = verbs()
    order = sorted(described, key=lambda verb: (verb != DEFAULT_VERB, verb))
    lines = [f"  {verb:<16}{described[verb]}" for verb in order]
    return "\n".join([
        f"usage: {PROGRAM} [VERB] ...       the same: python -m sim [VERB] ...",
        "",
        "What does it cost to serve this traffic on this fleet, and how long do its users wait?",
        "",
        *lines,
        "",
        f"Without a verb: {DEFAULT_VERB}. `{PROGRAM} VERB --help` has the words of a verb;",
        f"`{PROGRAM} {DEFAULT_VERB} --help` lists the traffic, fleets, GPUs, models, APIs and prices there are.",
        "",
        "Examples",
        f"  {PROGRAM} arrivals=bursty fleet=hybrid_overflow",
        f"  {PROGRAM} -m gpu=l4,l40s fleet=always_on,api_only replications=5",
        "",
        "  --version       the version, and nothing else; -h, --help: this text",
    ])  # fmt: skip


def _replace_what_a_terminal_cannot_show() -> None:
    """A terminal in ASCII or in a Windows code page gets `?` for a character that it lacks, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _refused(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
