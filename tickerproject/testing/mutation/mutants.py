"""The small errors that can be made in a module: a comparison turned, a constant off by one, a statement left out."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_LEFT_OUT = (ast.Expr, ast.AugAssign, ast.Raise, ast.Break, ast.Continue)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Mutant:
    """One error. `make` puts it into the tree that it was found in."""

    scope: str
    """The qualified name of the function or class, "" for the module itself."""
    line: int
    before: str
    """The changed expression, or the statement's first line; with `scope` and `after` it outlives other edits."""
    after: str
    make: Callable[[], None]

    @property
    def change(self) -> tuple[str, str, str]:
        return self.scope, self.before, self.after

    def __str__(self) -> str:
        return f"line {self.line}, {self.scope or 'module'}: {self.before}  →  {self.after}"


@dataclass(frozen=True)
class _Place:
    """Where a node stands: `parent.field`, or an element of it."""

    parent: ast.AST
    field: str
    index: int | None = None

    def get(self) -> Any:
        held = getattr(self.parent, self.field)
        return held if self.index is None else held[self.index]

    def put(self, value: Any) -> None:
        if self.index is None:
            setattr(self.parent, self.field, value)
        else:
            getattr(self.parent, self.field)[self.index] = value


def mutants_of(tree: ast.Module) -> list[Mutant]:
    """Every mutant of a module, in the order of its text.

    Left alone: annotations, decorators, imports, documentation, and the wording of errors.
    """
    found = [mutant for statement in _places(tree, "body") for mutant in _of_statement(statement, "")]
    return [mutant for mutant in found if mutant.before != mutant.after]  # a hundredth more than zero is zero


def _places(parent: ast.AST, field: str) -> list[_Place]:
    held = getattr(parent, field)
    return [_Place(parent, field, n) for n in range(len(held))] if isinstance(held, list) else [_Place(parent, field)]


def _of_statement(place: _Place, scope: str) -> Iterator[Mutant]:
    statement: ast.stmt = place.get()
    if _says_nothing(statement):
        return
    inside = f"{scope}.{statement.name}".lstrip(".") if isinstance(statement, _SCOPES) else scope
    if isinstance(statement, _LEFT_OUT):
        yield _mutant(scope, statement, place, ast.copy_location(ast.Pass(), statement), place)
    if isinstance(statement, ast.Return) and not _is_plain(statement.value):
        yield _mutant(scope, statement, place, None, _Place(statement, "value"))
    if isinstance(statement, ast.AugAssign) and (other := _OPERATORS.get(type(statement.op))):
        yield _mutant(scope, statement, place, other(), _Place(statement, "op"))
    for field, _ in ast.iter_fields(statement):
        if field in ("annotation", "returns", "decorator_list", "type_params", "bases", "keywords", "type_comment"):
            continue
        for child in _places(statement, field):
            node = child.get()
            if isinstance(node, ast.stmt):
                yield from _of_statement(child, inside)
            elif isinstance(node, ast.AST) and not isinstance(statement, ast.Raise):
                yield from _of_expression(child, inside, statement, place)


def _of_expression(place: _Place, scope: str, statement: ast.AST, shown: _Place) -> Iterator[Mutant]:
    """`shown` is the place of the smallest node around it that tells a reader where it is."""
    node = place.get()
    here = place if isinstance(node, ast.expr) and not isinstance(node, ast.Name | ast.Constant | ast.Slice) else shown
    for target, value in _changes(node, place):
        yield _mutant(scope, node if hasattr(node, "lineno") else statement, here, value, target)
    for field, _ in ast.iter_fields(node):
        if field not in ("annotation", "ctx"):
            for child in _places(node, field):
                inner = child.get()
                if isinstance(inner, ast.stmt):
                    yield from _of_statement(child, scope)
                elif isinstance(inner, ast.AST):
                    yield from _of_expression(child, scope, node if hasattr(node, "lineno") else statement, here)


def _changes(node: ast.AST, place: _Place) -> Iterator[tuple[_Place, Any]]:
    """What to put where, for each error that can be made in this very node."""
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                for other in _COMPARISONS[type(operator)]:
                    yield _Place(node, "ops", number), other()
        case ast.BinOp() if swapped := _OPERATORS.get(type(node.op)):
            yield _Place(node, "op"), swapped()
        case ast.BoolOp():
            yield _Place(node, "op"), ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp():
            yield place, node.operand
        case ast.IfExp():
            yield _Place(node, "test"), ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant():
            for value in _other_constants(node.value):
                yield _Place(node, "value"), value


def _other_constants(value: Any) -> tuple[Any, ...]:
    match value:
        case bool():
            return (not value,)
        case int():
            return value + 1, value - 1
        case float():
            return value + 1, value * 1.01
        case str():
            return (f"x{value}",)
        case bytes():
            return (b"x" + value,)
    return ()


def _mutant(scope: str, node: ast.AST, shown: _Place, value: Any, target: _Place) -> Mutant:
    before, held = _text(shown.get()), target.get()
    target.put(value)
    after = _text(shown.get())
    target.put(held)
    return Mutant(scope, getattr(node, "lineno", 0), before, after, lambda: target.put(value))


def _text(node: ast.AST) -> str:
    """The node as source, a compound statement's head only."""
    lines = ast.unparse(node).splitlines()
    return next(line for line in lines if not line.startswith("@"))


def _says_nothing(statement: ast.stmt) -> bool:
    """Imports, documentation, declarations: nothing there can be wrong in a way that tests see."""
    is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_text or isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass)


def _is_plain(value: ast.expr | None) -> bool:
    """Nothing, or a truth value, of which the opposite is tried already and of which `None` is no more than half."""
    return value is None or (isinstance(value, ast.Constant) and (value.value is None or isinstance(value.value, bool)))
