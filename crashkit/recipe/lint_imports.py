"""What a recipe imports, and that importing it does nothing but define things."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from crashkit.recipe.flaws import Flaws

_STANDARD = frozenset((
    "__future__", "bisect", "collections", "contextlib", "dataclasses", "datetime", "enum",
    "errno", "functools", "heapq", "ipaddress", "itertools", "math", "operator", "re", "string",
    "struct", "textwrap", "typing",
))  # fmt: skip
_ABOVE = ("cli", "pipeline", "batch", "doctor", "diff", "mkvmlinux", "report", "plugin", "shell")
"""Layers of crashkit that use recipes; one that used them in turn would go round in a circle."""
_PURE = frozenset((
    "Meta", "Fix", "Reread", "Value", "compile", "frozenset", "tuple", "dict", "set", "list",
    "range", "len", "sorted", "max", "min", "int", "str", "bytes", "TypeVar", "ParamSpec",
    "NewType", "namedtuple", "field", "attrgetter", "itemgetter", "fromkeys", "partial",
))  # fmt: skip
"""What may be called while a recipe is imported; and the file's own classes, and functions of
its own that call no more."""
_DECORATORS = frozenset((
    "dataclass", "facts", "cached_property", "property", "staticmethod", "classmethod", "cache",
    "lru_cache", "contextmanager", "setter", "overload", "override", "final", "total_ordering",
    "singledispatch", "register", "wraps",
))  # fmt: skip
_DEFINE = (ast.Import, ast.ImportFrom, ast.Pass, ast.FunctionDef, ast.ClassDef)


def lint_imports(flaws: Flaws, tree: ast.Module) -> None:
    """Note imports from outside the library, and what is done at import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                _lint_module(flaws, node, alias.name)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                flaws.add(node, "a relative import: a recipe is one file and belongs to no package")
            else:
                _lint_from(flaws, node)
    _lint_body(flaws, tree.body, _pure_names(tree))


def _pure_names(tree: ast.Module) -> frozenset[str]:
    # The file's classes; and its functions, as long as more of them turn out to be pure.
    names = _PURE | {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for _ in functions:
        more = {f.name for f in functions if {_last_name(c.func) for c in _made(f)} <= names}
        if more <= names:
            break
        names |= more
    return names


def _made(function: ast.FunctionDef) -> list[ast.Call]:
    return [call for statement in function.body for call in _calls_now(statement)]


def _lint_from(flaws: Flaws, node: ast.ImportFrom) -> None:
    if any(alias.name == "*" for alias in node.names):
        flaws.add(node, "import *: name what is used")
    if node.module == "crashkit":
        for alias in node.names:
            _lint_module(flaws, node, f"crashkit.{alias.name}")
    else:
        _lint_module(flaws, node, node.module or "")


def _lint_module(flaws: Flaws, node: ast.stmt, module: str) -> None:
    first, *rest = module.split(".")
    if first == "crashkit":
        if rest and rest[0] in _ABOVE:
            flaws.add(node, f"{module} stands above the recipes; import the library below")
    elif first != "drgn" and first not in _STANDARD:
        flaws.add(node, f"{module} is not of crashkit, drgn or the pure part of the library")


def _lint_body(flaws: Flaws, body: Sequence[ast.stmt], pure: frozenset[str]) -> None:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            _lint_decorators(flaws, node)
        if isinstance(node, ast.ClassDef):
            _lint_body(flaws, node.body, pure)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            _lint_value(flaws, node.value, pure)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            _lint_body(flaws, [*node.body, *node.orelse], pure)
        elif not isinstance(node, _DEFINE) and not _is_words(node):
            flaws.add(node, "done at import: a recipe's file only defines things")


def _is_words(node: ast.stmt) -> bool:
    # A docstring, or the words below a field.
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _lint_decorators(flaws: Flaws, node: ast.FunctionDef | ast.ClassDef) -> None:
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _last_name(called) not in _DECORATORS:
            flaws.add(decorator, f"@{ast.unparse(decorator)} is run at import")


def _lint_value(flaws: Flaws, value: ast.expr | None, pure: frozenset[str]) -> None:
    for call in _calls_now(value) if value is not None else ():
        if _last_name(call.func) not in pure:
            flaws.add(call, f"{ast.unparse(call.func)}() is called at import; do it in a function")


def _calls_now(node: ast.AST) -> Iterator[ast.Call]:
    # Those that are made as the statement is run: a lambda's and a function's are not.
    if isinstance(node, (ast.Lambda, ast.FunctionDef)):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _calls_now(child)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
