"""Single mistakes that a programmer could make, found in a source file: where they are and what they would read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
OPERATORS = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*", ast.Pow: "*",
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "floor": "ceil", "ceil": "floor", "any": "all", "all": "any",
    "minimum": "maximum", "maximum": "minimum",
}  # fmt: skip
_ROUNDING = 1e-6
"""Numbers below are tolerances against rounding: twice as much of it is none the worse."""
UNRUN = {"__repr__", "__str__"}  # what people read, not what is computed


@dataclass(frozen=True)
class Mistake:
    """One mistake: `old`, the source from `start` to `end` (offsets in characters), would read `new`.

    `function`: dotted name, within the file, of the innermost function or class around it; "" at the top.
    """

    path: str
    function: str
    line: int
    start: int
    end: int
    old: str
    new: str
    text: str  # the source line, stripped

    def plant(self, source: str) -> str:
        """The source with the mistake in it."""
        return source[: self.start] + self.new + source[self.end :]

    @property
    def name(self) -> str:
        """A name that stays as it is when lines move: file, function, the line as it reads, and what it would read."""
        return f"{self.path}: {self.function}: `{self.text}`: {self.old.splitlines()[0]} -> {self.new}"


def mistakes_in(path: str, source: str) -> list[Mistake]:
    """All mistakes that `Finder` knows to make in a file, in the order of the source. A few may not compile."""
    finder = Finder(path, source)
    finder.visit(ast.parse(source))
    return sorted(set(finder.found), key=lambda m: (m.start, m.end, m.new))


class Finder(ast.NodeVisitor):
    """Walks a module and notes mistakes; leaves out types, texts, messages of errors and field descriptions."""

    def __init__(self, path: str, source: str):
        self._path, self._source = path, source
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._scope: list[str] = []
        self.found: list[Mistake] = []

    def _offset(self, line: int, column: int) -> int:
        """Offset in characters; ast counts columns in bytes of UTF-8."""
        text = self._lines[line - 1]
        return self._starts[line - 1] + len(text.encode()[:column].decode())

    def _span(self, node: ast.AST) -> tuple[int, int]:
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def _note(self, line: int, start: int, end: int, new: str) -> None:
        text, old = self._lines[line - 1].strip(), self._source[start:end]
        self.found.append(Mistake(self._path, ".".join(self._scope), line, start, end, old, new, text))

    def _replace(self, node: ast.AST, new: str) -> None:
        self._note(node.lineno, *self._span(node), new)

    def _between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        """Replace the sign between two operands."""
        begin, end = self._span(left)[1], self._span(right)[0]
        place = self._source.find(old, begin, end)
        if place >= 0:
            self._note(left.end_lineno, place, place + len(old), new)

    # --- what is entered, and what is not ----------------------------------------------------------------------------

    def _named(self, node) -> None:
        if node.name in UNRUN:
            return
        self._scope.append(node.name)
        for child in self._body(node):
            self.visit(child)
        self._scope.pop()

    @staticmethod
    def _body(node) -> Iterator[ast.AST]:
        if not isinstance(node, ast.ClassDef):  # defaults of parameters are numbers, too
            yield from [d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]
        yield from node.body

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _named

    def visit_Raise(self, node: ast.Raise) -> None:
        if node.exc is None or ast.unparse(node.exc) != "NotImplementedError":  # an abstract method is never called
            self._replace(node, "pass")

    def visit_Assert(self, node: ast.Assert) -> None:
        """Asserts tell a type checker what holds."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Text."""

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name == "Field":
            for argument in node.args[:1]:
                self.visit(argument)
            return
        if name == "zip":  # `strict`, like an assert, tells what holds
            for argument in node.args:
                self.visit(argument)
            return
        if name in NAMES:
            end = self._span(called)[1]
            self._note(called.end_lineno, end - len(name), end, NAMES[name])
        self.generic_visit(node)

    # --- the mistakes ------------------------------------------------------------------------------------------------

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            self._between(left, right, _sign(operator), COMPARISONS[type(operator)])
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in OPERATORS:
            self._between(node.left, node.right, _sign(node.op), OPERATORS[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        start, _ = self._span(node)
        if isinstance(node.op, ast.Not):
            self._note(node.lineno, start, start + 4, "")
        elif isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            self._note(node.lineno, start, start + 1, "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value))
        elif isinstance(value, int):
            self._replace(node, str(value + 1))
        elif isinstance(value, float):
            times = 2 if value >= _ROUNDING else 1e6  # a tolerance is a mistake once it lets something in
            self._replace(node, repr(value * times if value else 1.0))

    def visit_If(self, node: ast.If) -> None:
        self._negated(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negated(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._replace(test, "True")
        self.generic_visit(node)

    def _negated(self, test: ast.AST) -> None:
        if ast.unparse(test) != "TYPE_CHECKING":
            self._replace(test, f"not ({self._source[slice(*self._span(test))]})")

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if type(node.op) in OPERATORS:
            self._between(node.target, node.value, _sign(node.op), OPERATORS[type(node.op)])
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id.startswith("__"):
            return  # __slots__
        if self._scope and self._scope[-1] != "__init__" and isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            self._replace(node, "pass")  # in __init__, any test at all would miss the attribute
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._replace(node, "pass")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call):
            self._replace(node, "pass")
        self.generic_visit(node)


def _sign(operator: ast.operator | ast.cmpop) -> str:
    """How an operator is written."""
    pattern = ast.Compare if isinstance(operator, ast.cmpop) else ast.BinOp
    x, y = ast.Name("x"), ast.Name("y")
    tree = pattern(x, [operator], [y]) if pattern is ast.Compare else pattern(x, operator, y)
    return ast.unparse(tree)[2:-2]
