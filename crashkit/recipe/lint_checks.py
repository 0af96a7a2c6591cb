"""The checks of a recipe: that each says something, and how a person reads it again."""

from __future__ import annotations

import ast
import re

from crashkit.recipe.flaws import Flaws

_MAKERS = ("necessary", "excluding", "supporting")
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_FUNCTIONS = {
    "applies": 1, "checks": 1, "fix": 1, "history": 1, "to_settle": 2, "classes": 2, "advice": 2,
}  # fmt: skip
"""What crashkit calls, and with how many arguments."""
_BROAD = ("Exception", "BaseException")
_FORBIDDEN = {
    "print": "a recipe prints nothing; return it in a note",
    "open": "a recipe reads the dump and no file",
    "exec": "exec() in a recipe",
    "eval": "eval() in a recipe",
    "input": "a recipe asks nobody",
    "__import__": "__import__() in a recipe",
    "breakpoint": "breakpoint() was left in",
}


def lint_checks(flaws: Flaws, tree: ast.Module) -> None:
    """Note checks without words or reread, and what a recipe must leave to crashkit."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in _FUNCTIONS:
            _lint_signature(flaws, node)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = [call for call in calls if _called(call) in _MAKERS]
    if not any(_called(call) == "necessary" for call in made):
        flaws.add(1, "no necessary check: nothing could ever confirm or refute it")
    for call in made:
        _lint_check(flaws, call)
    for branch in ast.walk(tree):
        for block in ("body", "orelse"):
            _lint_same_ids(flaws, getattr(branch, block, None))
    for call in calls:
        if _called(call) == "Value":
            _lint_value(flaws, call)
        if isinstance(call.func, ast.Name) and call.func.id in _FORBIDDEN:
            flaws.add(call, _FORBIDDEN[call.func.id])
    _lint_conclusions(flaws, tree)


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _lint_signature(flaws: Flaws, node: ast.FunctionDef) -> None:
    wanted, given = _FUNCTIONS[node.name], node.args
    needed = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    taken = len(given.posonlyargs) + len(given.args)
    if given.vararg is None and not needed <= wanted <= taken:
        words = "(crash)" if wanted == 1 else "(crash, checks)"
        flaws.add(node, f"{node.name}() is called as {node.name}{words}")


def _lint_same_ids(flaws: Flaws, block: object) -> None:
    # Of one block: two branches may each have a check of one id.
    known: dict[object, int] = {}
    for node in block if isinstance(block, list) else ():
        yielded = getattr(getattr(node, "value", None), "value", None)
        if isinstance(yielded, ast.Call) and _called(yielded) in _MAKERS:
            check_id = _literal(yielded, 0, "id_")
            first = known.setdefault(check_id, yielded.lineno)
            if check_id is not None and first != yielded.lineno:
                flaws.add(yielded, f"check id {check_id} is also that of line {first}")


def _lint_check(flaws: Flaws, call: ast.Call) -> None:
    maker, keywords = _called(call), {k.arg for k in call.keywords}
    if len(call.args) + len(keywords) < 3 and None not in keywords:
        flaws.add(call, f"{maker}() takes an id, a statement and what looks")
        return
    check_id, statement = (_literal(call, n, name) for n, name in enumerate(("id_", "statement")))
    if isinstance(check_id, str) and not _ID.match(check_id):
        flaws.add(call, f"check id {check_id!r} is not words of a-z and 0-9 with - between")
    if isinstance(statement, str) and len(statement.split()) < 2:
        flaws.add(call, f"check {check_id} has no statement: one clause, true or false of a dump")


def _literal(call: ast.Call, position: int, name: str) -> object:
    given = next((k.value for k in call.keywords if k.arg == name), None)
    if given is None and position < len(call.args):
        given = call.args[position]
    return given.value if isinstance(given, ast.Constant) else None


def _lint_value(flaws: Flaws, call: ast.Call) -> None:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    origin = given.get("origin")
    from_text = isinstance(origin, ast.Attribute) and origin.attr == "TEXT"
    if "reread" not in given and None not in given and not from_text:
        flaws.add(call, "a Value without reread: say how a person reads it again")


def _lint_conclusions(flaws: Flaws, tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.walk(node.type) if node.type is not None else ()
            names = {name.id for name in caught if isinstance(name, ast.Name)}
            if node.type is None or names & set(_BROAD):
                flaws.add(node, "it catches everything: crashkit shows a recipe's bug as its error")
        if isinstance(node, ast.ImportFrom) and any(a.name == "Verdict" for a in node.names):
            flaws.add(node, "a recipe states no verdict; it is the fold of its checks")
