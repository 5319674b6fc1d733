"""Small faults that can be put into a source file: one change of one expression or statement.

Left out is what changes no result: annotations, decorators, texts of errors and warnings, arguments
that only save work or assert what holds, and the named limits at the top of modules, which are
measured, not exact.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

#: Comparisons the other way round: on real numbers `<` and `<=` are hardly ever different.
REVERSED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}

#: Comparisons of counts, which are off by one.
SHIFTED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}

#: Operators of which the second operand can be dropped.
DROPPING = (ast.Add, ast.Sub, ast.Mult, ast.Div)

_PAIRS = [("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("any", "all")]
SWAPPED = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}

#: Keyword arguments that save time or memory, say where a warning comes from, or assert that the
#: lengths of what is zipped agree.
NO_RESULT = {
    "check_finite",
    "copy",
    "maxsize",
    "overwrite_a",
    "overwrite_b",
    "stacklevel",
    "strict",
}

#: Names of counts, beside those that begin with "n_".
COUNTS = {"len", "ndim", "size"}


@dataclass(frozen=True)
class Mutant:
    """One change of a file; start and stop count bytes, so that all other text stays as it is."""

    path: str
    function: str
    line: int
    start: int
    stop: int
    before: str
    after: str
    last_line: int

    @property
    def lines(self) -> range:
        """The lines of the change."""
        return range(self.line, self.last_line + 1)

    @property
    def change(self) -> str:
        """What names the mutant in `equivalent.txt`, wherever in its file the line may be."""
        return f"{self.path} {self.function}: {self.before} -> {self.after}"

    def apply(self, source: bytes) -> bytes:
        """Return the source with the change."""
        plain = self.after.isidentifier() or self.after[0].isdigit()
        new = self.after if plain else f"({self.after})"
        return source[: self.start] + new.encode() + source[self.stop :]


def _is_text(node: ast.expr) -> bool:
    """Whether an expression is a text or a list, which `+` joins."""
    text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return text or isinstance(node, (ast.JoinedStr, ast.List, ast.Tuple))


def _counts(node: ast.AST) -> bool:
    """Whether an expression speaks of a number of things."""
    names = (getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node))
    return any(name in COUNTS or name.startswith("n_") for name in names)


def _of_comparison(node: ast.Compare) -> Iterator[ast.AST]:
    kinds = {**REVERSED, **SHIFTED} if _counts(node) else REVERSED
    new = copy.deepcopy(node)
    new.ops[0] = kinds[type(node.ops[0])]()
    yield new


def _of_operation(node: ast.BinOp) -> Iterator[ast.AST]:
    if _is_text(node.left) or _is_text(node.right):
        return
    if type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    if isinstance(node.op, DROPPING):
        yield node.left


def _of_constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node.value, float):
        yield ast.Constant(2.0 * node.value or 1.0)


def _of_junction(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)


def _of_sign(node: ast.UnaryOp) -> Iterator[ast.AST]:
    index = isinstance(node.operand, ast.Constant)
    if isinstance(node.op, ast.Not) or (isinstance(node.op, ast.USub) and not index):
        yield node.operand


def _of_name(node: ast.Name) -> Iterator[ast.AST]:
    if node.id in SWAPPED and isinstance(node.ctx, ast.Load):
        yield ast.Name(SWAPPED[node.id])


def _of_attribute(node: ast.Attribute) -> Iterator[ast.AST]:
    if node.attr in SWAPPED:
        yield ast.Attribute(node.value, SWAPPED[node.attr])


def _of_assignment(node: ast.Assign) -> Iterator[ast.AST]:
    if all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets):
        yield ast.Pass()


def _of_statement(node: ast.stmt) -> Iterator[ast.AST]:
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if not text:
        yield ast.Pass()


CHANGES: dict[type[ast.AST], Callable[..., Iterator[ast.AST]]] = {
    ast.Compare: _of_comparison,
    ast.BinOp: _of_operation,
    ast.Constant: _of_constant,
    ast.BoolOp: _of_junction,
    ast.UnaryOp: _of_sign,
    ast.Name: _of_name,
    ast.Attribute: _of_attribute,
    ast.Assign: _of_assignment,
    ast.Expr: _of_statement,
    ast.AugAssign: _of_statement,
    ast.Raise: _of_statement,
}


class _Finder(ast.NodeVisitor):
    """Collects the mutants of a file."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.within: list[str] = []
        self.found: list[Mutant] = []
        self.starts = [0]
        for line in source.encode().splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def visit(self, node: ast.AST) -> None:
        for new in CHANGES[type(node)](node) if self.within and type(node) in CHANGES else ():
            self._add(node, new)
        super().visit(node)

    def _add(self, node, new: ast.AST) -> None:
        self.found.append(
            Mutant(
                path=self.path,
                function=".".join(self.within),
                line=node.lineno,
                start=self.starts[node.lineno - 1] + node.col_offset,
                stop=self.starts[node.end_lineno - 1] + node.end_col_offset,
                before=ast.unparse(node),
                after=ast.unparse(new),
                last_line=node.end_lineno,
            )
        )

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.within.append(node.name)
        for part in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(part)
        self.within.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in node.body:
            if isinstance(part, ast.FunctionDef):
                self.within.append(node.name)
                self.visit(part)
                self.within.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in NO_RESULT:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if "warn" not in name:
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Pass over the text of the error."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Pass over a text, inside of which Python 3.11 tells no positions."""


def mutants_of(path: str, source: str) -> list[Mutant]:
    """Return every mutant of the functions of a file, in the order of the file."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    return finder.found


def mutants_within(root: Path, places: list[str]) -> list[Mutant]:
    """Return every mutant of files and of the files of folders, relative to `root`."""
    found = []
    for place in places:
        files = sorted((root / place).rglob("*.py")) or [root / place]
        for file in files:
            path = file.relative_to(root).as_posix()
            found += mutants_of(path, file.read_text(encoding="utf-8"))
    return found


def drawn(groups: list[list[Mutant]], n: int, seed: int) -> list[Mutant]:
    """Return n mutants, of the groups in turn, so that the first few already are of all of them.

    The order is by a hash of the change, so that code that moves or changes elsewhere, or a change
    that is left out, leaves the other draws as they were.
    """

    def place(mutant: Mutant) -> bytes:
        return sha256(f"{seed} {mutant.change}".encode()).digest()

    queues = [sorted(group, key=place) for group in groups]
    chosen: list[Mutant] = []
    while len(chosen) < n and any(queues):
        chosen += [queue.pop() for queue in queues if queue]
    return chosen[:n]
