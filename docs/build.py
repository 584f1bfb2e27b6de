"""`python -m docs.build`: write docs/reference from the code; `--check` only says which pages are out of date."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterable
from pathlib import Path

from pydantic_core import PydanticUndefined

import sim
from sim.__main__ import PROGRAM, verbs
from sim.knob import knob_of
from sim.report import glossary
from sim.scenarios import Scenario
from sim.schema import Choice, Config, kinds_of
from sim.workload.logs.presets import presets
from sim.workload.logs.roles import Columns

PAGES = Path(__file__).resolve().parent / "reference"
CONF = PAGES.parent.parent / "conf"
Row = tuple[str, ...]


def cell(text: str) -> str:
    """Text as it can stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def table(header: Row, rows: Iterable[Row]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def numbers_page() -> str:
    """Every key and column that a run writes, from sim/report/glossary.py."""
    parts = [
        ("summary.json", glossary.SUMMARY, "key"),
        ("requests.parquet", glossary.REQUESTS, "column"),
        ("spans.parquet", glossary.SPANS, "column"),
        ("bill.csv", glossary.BILL, "column"),
        ("Items of a bill", glossary.BILL_ITEMS, "item"),
        ("results.csv and results.parquet", glossary.RESULTS, "column"),
    ]
    text = "# Numbers\n\nEvery key and column that a run writes. A part in angle brackets stands for any name.\n"
    for title, definitions, first in parts:
        rows = ((f"`{key}`", cell(d.unit) or "–", cell(d.meaning)) for key, d in definitions.items())
        text += f"\n## {title}\n\n" + table((first, "unit", "meaning"), rows)
    return text


def type_name(annotation: object) -> str:
    """A type as a reader of YAML would say it."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(args[0])
    if origin is typing.Literal:
        return " or ".join(repr(value) for value in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else type_name(a) for a in args)
    if args and origin is not None:
        inside = ", ".join("…" if a is Ellipsis else type_name(a) for a in args)
        return f"{getattr(origin, '__name__', origin)}[{inside}]"
    return getattr(annotation, "__name__", str(annotation))


def default_of(field: typing.Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "–"
    if isinstance(value, Config):
        return f"`{getattr(value, 'kind', 'its defaults')}`"
    return "`null`" if value is None else f"`{value}`"


def law_of(field: typing.Any) -> str:
    """The bounds of a number, as `>= 0`."""
    names = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [f"{sign} {getattr(m, key):g}" for m in field.metadata for key, sign in names.items() if hasattr(m, key)]
    return ", ".join(bounds)


def searched(field: typing.Any) -> str:
    """The range in which a search looks for a better value; '' where none does."""
    knob = knob_of(field)
    return "" if knob is None else f"tuned within {knob.low:g} to {knob.high:g}"


def fields_of(cls: type[Config]) -> str:
    rows = []
    for name, field in cls.model_fields.items():
        if name != "kind":
            kind = " ".join(filter(None, (type_name(field.annotation), law_of(field))))
            meaning = "; ".join(filter(None, (field.description, searched(field))))
            rows.append((f"`{name}`", cell(kind), cell(default_of(field)), cell(meaning)))
    return table(("field", "type", "default", "meaning"), rows) if rows else "No fields.\n"


def first_paragraph(cls: type) -> str:
    return cell((cls.__doc__ or "").partition("\n\n")[0])


def configs_in(annotation: object) -> list[type[Config]]:
    """The Config classes that a type mentions, itself included."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [cls for part in typing.get_args(annotation) for cls in configs_in(part)]


def described(cls: type[Config], heading: str, done: set[type[Config]]) -> str:
    """A class with its fields, then those of the classes that its fields hold and that are not described yet."""
    text = f"\n{heading}\n\n{first_paragraph(cls)}\n\n{fields_of(cls)}"
    done.add(cls)
    for field in cls.model_fields.values():
        for inner in configs_in(field.annotation):
            for held in sorted(own_kinds(inner).values(), key=lambda c: c.__name__) if is_base(inner) else [inner]:
                if held not in done:
                    done.add(held)
                    name = (
                        f"`{held.model_fields['kind'].default}` ({held.__name__})" if is_base(inner) else held.__name__
                    )
                    text += described(held, f"#### {name}", done)
    return text


def is_base(cls: type[Config]) -> bool:
    """Whether a config chooses among the subclasses of a class, by their kind."""
    return issubclass(cls, Choice) and bool(own_kinds(cls))


def own_kinds(base: type[Choice]) -> dict[str, type[Choice]]:
    """The kinds of a base that are part of the program, without those of plugins and tests."""
    return {kind: cls for kind, cls in kinds_of(base).items() if cls.__module__.startswith("sim.")}


def groups_page() -> str:
    """Every config group with its fields, from the classes that validate them."""
    text = (
        "# Configuration\n\nEvery key of a scenario. A config group is a folder of `conf/`: `group=file` chooses one.\n"
    )
    text += "\n## Keys of a scenario\n\n" + fields_of(Scenario)
    done: set[type[Config]] = set()
    for name, field in Scenario.model_fields.items():
        for base in configs_in(field.annotation):
            files = sorted(path.stem for path in CONF.glob(f"{name}/*.yaml"))
            text += f"\n## {name}\n\n{first_paragraph(base)}\n"
            text += f"\nFiles in `conf/{name}`: {', '.join(f'`{file}`' for file in files)}.\n" if files else ""
            if is_base(base):
                for kind, cls in sorted(own_kinds(base).items()):
                    text += described(cls, f"### `kind: {kind}`", done)
            else:
                text += described(base, f"### {base.__name__}", done)
    return text


def verbs_page() -> str:
    """Every verb of the command line."""
    rows = ((f"`{PROGRAM} {verb}`", cell(what)) for verb, what in sorted(verbs().items()))
    return (
        f"# Command line\n\n`{PROGRAM} VERB ...`, or `python -m sim VERB ...`; without a verb, `run`. "
        f"`{PROGRAM} VERB --help` has the words of a verb.\n\n{table(('verb', 'what it does'), rows)}"
        "\nExit codes: 0 done; 1 a scenario of a sweep failed; 2 bad input, told in one line before anything is "
        "simulated or written; 3 a broken conservation law, a defect of the simulator; 130 Ctrl-C.\n"
    )


def logs_page() -> str:
    """Every format of request logs, from conf/log."""
    rows = []
    for name, preset in presets().items():
        keys = "; or ".join(", ".join(f"`{key}`" for key in known) for known in preset.distinctive) or "usual names"
        roles = ", ".join(
            f"{role}: `{preset.columns.of(role)[0]}`" for role in Columns.model_fields if preset.columns.of(role)
        )
        rows.append((f"`{name}`", cell(preset.title), cell(keys), cell(roles)))
    return (
        "# Log formats\n\nWhat `arrivals.path` may hold, and by which keys it is known; each is a file in `conf/log`, "
        "with its sources. The roles show the first name that is looked for.\n\n"
        + table(("format", "what it is", "known by", "columns"), rows)
    )


def signature_of(name: str, function: typing.Callable[..., typing.Any]) -> str:
    """The call with its types, on one line, or one parameter a line where that would be too long."""
    signature = inspect.signature(function)
    parameters, has_star = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not has_star:
            parameters.append("*")
        has_star |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parameters.append(f"{stars}{parameter.name}: {parameter.annotation}{default}")
    line = f"sim.{name}({', '.join(parameters)}) -> {signature.return_annotation}"
    if len(line) <= 90:
        return line
    lines = (f"    {parameter}," for parameter in parameters)
    return "\n".join([f"sim.{name}(", *lines, f") -> {signature.return_annotation}"])


def python_page() -> str:
    """Every public name of `sim` with its docstring, from the code; the examples are tried by a test."""
    text = "# Python\n\nEvery name of `import sim`. To begin with: the notebook examples/quickstart.ipynb.\n"
    for name in sorted(sim.__all__, key=lambda name: (name[0].isupper(), name)):
        documented = getattr(sim, name)
        is_class = isinstance(documented, type)
        prose, _, example = (inspect.getdoc(documented) or "").partition("\n>>> ")
        prose = re.sub(r"\n\n +", "\n\n", prose.strip()).replace("<", "&lt;")
        text += f"\n## sim.{name}\n\n" + ("" if is_class else f"```text\n{signature_of(name, documented)}\n```\n\n")
        text += f"{prose}\n\n```python-console\n>>> {example.strip()}\n```\n"
    return text


PAGE_OF = {
    "log-formats.md": logs_page,
    "numbers.md": numbers_page,
    "python.md": python_page,
    "configuration.md": groups_page,
    "command-line.md": verbs_page,
}


def main() -> int:
    """Write the pages, or with `--check` name those that differ from the code (exit code 1)."""
    stale = []
    for name, page in PAGE_OF.items():
        path, text = PAGES / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print(f"error: docs/reference is older than the code: {', '.join(stale)}; make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
