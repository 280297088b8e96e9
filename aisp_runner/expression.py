"""Arithmetic over axis names, such as "2 * n" or "12 * rows * columns": numbers, names, + - * / // % ** and parentheses.

An expression is read into a syntax tree and computed by walking it. Nothing is executed, and the tree, the exponents and the
results are bounded, so that a config can neither run code nor hang the planner.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence

from aisp_runner.errors import ConfigError, did_you_mean

Number = int | float

MAX_LENGTH = 200
"""Characters of an expression."""
MAX_EXPONENT = 64
MAX_ELEMENTS = 2**60
"""Elements of a tensor."""
MAX_VALUE = 2**100
"""Largest magnitude of any intermediate result; a petabyte is 2**50."""

_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def evaluate(expression: str | Number, axes: Mapping[str, int], where: str, device: str = "") -> Number:
    """The value of `expression` with `axes` put in for the names.

    where: the place in a config, for messages ("conf/workload/x.yaml: inputs.a.shape").
    device: named in the message about an undefined axis, since axes are declared per device.
    Raises ConfigError for what is not plain arithmetic, an undefined axis, a division by zero or a value out of bounds.
    """
    if isinstance(expression, int | float) and not isinstance(expression, bool):
        return expression
    check_names(expression, axes, where, device)
    return _value(_tree(str(expression), where), axes, f"{where}: '{expression}'")


def shape(entries: Sequence[str | int], axes: Mapping[str, int], where: str, device: str = "") -> tuple[int, ...]:
    """The sizes of a tensor's dimensions. Raises ConfigError for one that is no whole number of at least 1, and for more
    elements than fit anywhere.
    """
    found = []
    for entry in entries:
        size = evaluate(entry, axes, where, device)
        if size != int(size) or size < 1:
            at = ", ".join(f"{axis}={value}" for axis, value in axes.items())
            raise ConfigError(f"{where}: '{entry}' is {size} at {at}; a size is a whole number, at least 1. // divides.")
        found.append(int(size))
    if math.prod(found) > MAX_ELEMENTS:
        raise ConfigError(f"{where}: {list(entries)} has more than 2**60 elements, which fit nowhere. Make it smaller.")
    return tuple(found)


def work(value: str | Number | None, axes: Mapping[str, int], where: str, device: str = "") -> float | None:
    """Declared bytes or operations of one call. Raises ConfigError for less than none."""
    if value is None:
        return None
    result = float(evaluate(value, axes, where, device))
    if result < 0:
        raise ConfigError(f"{where}: '{value}' is {result:g} at {dict(axes)}; work is at least 0.")
    return result


def names(expression: str | Number, where: str) -> list[str]:
    """The axis names an expression uses, in order of appearance, each once. Raises ConfigError when it is not arithmetic."""
    if isinstance(expression, int | float):
        return []
    found = [node for node in ast.walk(_tree(expression, where)) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(node.id for node in sorted(found, key=lambda node: node.col_offset)))


def check_names(expression: str | Number, axes: Collection[str], where: str, device: str = "") -> None:
    """Raise ConfigError naming the first axis of `expression` that is not in `axes`."""
    for name in names(expression, where):
        if name not in axes:
            of = f" for device {device}" if device else ""
            known = f"Axes: {', '.join(axes)}." if axes else "It has no axes."
            raise ConfigError(f"{where}: axis '{name}' is not defined{of}.{did_you_mean(name, axes)} {known}")


@functools.lru_cache(maxsize=1024)
def _tree(expression: str, where: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise ConfigError(f"{where}: an expression of {len(expression)} characters; at most {MAX_LENGTH} are read. Shorten it.")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ConfigError(
            f"{where}: '{expression}' is not arithmetic. Write numbers, axis names and + - * / // % ** ( ), such as \"2 * n\"."
        ) from None
    for node in ast.walk(tree):
        _check_node(node, expression, where)
    return tree


def _check_node(node: ast.AST, expression: str, where: str) -> None:
    plain = ast.Name | ast.Load | ast.BinOp | ast.UnaryOp | ast.USub | ast.UAdd
    if isinstance(node, plain) or type(node) in _OPERATORS:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return
    what = {ast.Call: "a call", ast.Attribute: "an attribute", ast.Subscript: "an index", ast.Compare: "a comparison"}
    if isinstance(node, ast.Constant):
        said = f"the constant {node.value!r}"
    else:
        said = what.get(type(node), f"'{type(node).__name__}'")
    raise ConfigError(f"{where}: '{expression}' holds {said}. Only numbers, axis names, + - * / // % ** and ( ) are read.")


def _value(node: ast.expr, axes: Mapping[str, int], where: str) -> Number:
    if isinstance(node, ast.Constant):
        value: Number = node.value  # type: ignore[assignment]  # checked by _check_node
    elif isinstance(node, ast.Name):
        value = axes[node.id]
    elif isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, axes, where)
        value = -inner if isinstance(node.op, ast.USub) else inner
    elif isinstance(node, ast.BinOp):
        value = _apply(node.op, _value(node.left, axes, where), _value(node.right, axes, where), where)
    else:
        raise AssertionError(f"unchecked node {node!r}")
    if not -MAX_VALUE <= value <= MAX_VALUE:
        raise ConfigError(f"{where} is out of bounds: values stay within 2**100. Make it smaller.")
    return value


def _apply(kind: ast.operator, left: Number, right: Number, where: str) -> Number:
    if isinstance(kind, ast.Pow):
        if not 0 <= right <= MAX_EXPONENT:
            raise ConfigError(f"{where} has the exponent {right}; exponents are 0 to {MAX_EXPONENT}.")
        if left < 0 and not float(right).is_integer():
            raise ConfigError(f"{where} raises the negative number {left} to the fraction {right}, which has no real value.")
    if isinstance(kind, ast.Div | ast.FloorDiv | ast.Mod) and right == 0:
        raise ConfigError(f"{where} divides by zero with these axis values.")
    try:
        return _OPERATORS[type(kind)](left, right)
    except OverflowError:
        raise ConfigError(f"{where} is out of bounds: values stay within 2**100. Make it smaller.") from None
