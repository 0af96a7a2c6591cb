"""A recipe's META, read from its source without running it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import MISSING, field, fields
from pathlib import Path
from types import CodeType

from crashkit.errors import RecipeError
from crashkit.finding import Fix
from crashkit.value import facts

MAX_SOURCE = 1 << 20
"""Bytes of a recipe file; more is no recipe."""


@facts
class Meta:
    """What a recipe says of itself; data, readable without running anything."""

    id: str
    """Name used on the command line and in reports, e.g. ``nf-conntrack-clash-stale-ct``."""
    claim: str
    """The states that a confirmed verdict states, one sentence."""
    references: tuple[str, ...] = ()
    """Commits, headers and articles that say why the checks decide."""
    matches: tuple[str, ...] = ()
    """Samples that it confirms."""
    rejects: tuple[str, ...] = ()
    """Samples that look alike and that it refutes."""
    classes: tuple[str, ...] = ()
    """The recipe's own words for the kinds of this bug."""
    told_apart_from: tuple[str, ...] = ()
    """What else could look like this and how it is excluded, a phrase each."""
    fix: Fix | None = None
    """The commit that fixes it, without a statement about this binary."""
    advice: str | None = None
    """What to do today."""
    history: tuple[str, ...] = ()
    """What led to the claimed states, always inferred."""


@facts
class Source:
    """A recipe file, parsed and not run."""

    path: Path
    name: str
    """The path below its recipe directory, as messages name it."""
    code: CodeType = field(repr=False)
    """Compiled, not run."""
    doc: str
    meta: Meta


_CALLS: dict[str, type[Meta] | type[Fix]] = {"Meta": Meta, "Fix": Fix}


def read_source(path: Path, name: str) -> Source:
    """Read a recipe file and its META without running it.

    :raises RecipeError: unreadable, a syntax error, no docstring or META, or a part missing
    """
    text = _read_text(path, name)
    try:
        tree = ast.parse(text, filename=name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as wrong:
        line = getattr(wrong, "lineno", None) or 1
        words = getattr(wrong, "msg", None) or str(wrong) or "too deeply nested"
        raise RecipeError(f"recipe {name}:{line}: {words}; correct the file") from wrong
    doc = ast.get_docstring(tree)
    if not doc:
        raise RecipeError(f"recipe {name}:1: no docstring; say there what the recipe recognises")
    meta = _literal(_meta_call(tree, name), name)
    if not isinstance(meta, Meta):
        raise RecipeError(f"recipe {name}: META is not a Meta(...) call")
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for function in ("applies", "checks"):
        if function not in defined:
            raise RecipeError(f"recipe {name}: no function {function}(crash); add it")
    return Source(path=path, name=name, code=_compiled(tree, path, name), doc=doc, meta=meta)


def _compiled(tree: ast.Module, path: Path, name: str) -> CodeType:
    try:
        return compile(tree, str(path), "exec")
    except (SyntaxError, ValueError, RecursionError) as wrong:
        line = getattr(wrong, "lineno", None) or 1
        raise RecipeError(f"recipe {name}:{line}: {wrong}; correct the file") from wrong


def _read_text(path: Path, name: str) -> str:
    try:
        data = path.read_bytes()
        if len(data) > MAX_SOURCE:
            raise RecipeError(f"recipe {name}: {len(data)} bytes are too many for a recipe")
        return data.decode()
    except OSError as error:
        raise RecipeError(f"recipe {name}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {name}: is not UTF-8 text") from error


def _meta_call(tree: ast.Module, name: str) -> ast.expr:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == "META" for target in targets):
            return value
    raise RecipeError(f"recipe {name}: no META = Meta(...); add it below the docstring")


def _literal(node: ast.expr, name: str) -> object:
    # Literals, and calls of Meta and Fix with literal keyword arguments; nothing is run.
    if isinstance(node, ast.Call):
        return _construct(node, name)
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item, name) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise RecipeError(
            f"recipe {name}:{node.lineno}: META holds an expression; only literals are allowed"
        ) from error


def _construct(node: ast.Call, name: str) -> object:
    where = f"recipe {name}:{node.lineno}"
    called = node.func.id if isinstance(node.func, ast.Name) else ""
    if called not in _CALLS:
        raise RecipeError(f"{where}: META may call only Meta and Fix")
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        raise RecipeError(f"{where}: {called}(...) takes keyword arguments only")
    given = {str(keyword.arg): _literal(keyword.value, name) for keyword in node.keywords}
    cls = _CALLS[called]
    known = {part.name: part for part in fields(cls)}
    for key, value in given.items():
        if key not in known:
            raise RecipeError(f"{where}: {called} has no part {key!r}")
        if not _FITS[str(known[key].type)](value):
            raise RecipeError(f"{where}: {called}.{key} must be {known[key].type}")
    for key, part in known.items():
        if part.default is MISSING and key not in given:
            raise RecipeError(f"{where}: {called} lacks {key!r}")
    return cls(**given)  # type: ignore[arg-type]  # checked above, part by part


def _is_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


_FITS: dict[str, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str) and bool(value),
    "str | None": lambda value: value is None or isinstance(value, str),
    "bool | None": lambda value: value is None or isinstance(value, bool),
    "tuple[str, ...]": _is_texts,
    "Fix | None": lambda value: value is None or isinstance(value, Fix),
}
# By the annotation of the field, which is text here (postponed evaluation).
