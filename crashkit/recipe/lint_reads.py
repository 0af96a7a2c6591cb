"""What ties a recipe to one kernel: versions compared, offsets written down."""

from __future__ import annotations

import ast
import re

from crashkit.recipe.flaws import Flaws

_RELEASES = frozenset({"release", "osrelease", "kernel_version", "utsrelease", "UTS_RELEASE"})
_OF_THE_KERNEL = frozenset({"target", "banner", "uts", "utsname", "init_uts_ns", "name"})
_VERSION = re.compile(r"v?[2-9]\.\d{1,3}(?:\.\d{1,3})?\b")
_READS = {
    "read": 0, "read_u8": 0, "read_u16": 0, "read_u32": 0, "read_u64": 0, "read_word": 0,
    "read_c_string": 0,
}  # fmt: skip
"""Methods of drgn.Program, and which argument is the address."""
_FUNCTIONS = {"read_bytes": 1, "read_u64": 1, "read_pieces": 1, "Object": 2}
"""Functions that take the program first."""


def lint_reads(flaws: Flaws, tree: ast.Module) -> None:
    """Note comparisons of kernel versions, and reads at offsets that were written down."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_release(node):
            flaws.add(node, f"{ast.unparse(node)}: decide by what is in the dump, no version")
        elif isinstance(node, ast.Compare):
            _lint_compare(flaws, node)
        elif isinstance(node, ast.Call):
            _lint_read(flaws, node)


def _is_release(node: ast.Attribute) -> bool:
    if node.attr in _RELEASES:
        return True
    return node.attr == "version" and _last(node.value) in _OF_THE_KERNEL


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _lint_compare(flaws: Flaws, node: ast.Compare) -> None:
    for side in (node.left, *node.comparators):
        for part in ast.walk(side):
            text = part.value if isinstance(part, ast.Constant) else None
            if isinstance(text, str) and _VERSION.fullmatch(text):
                flaws.add(node, f"compares with kernel version {text!r}")


def _lint_read(flaws: Flaws, call: ast.Call) -> None:
    address = _address(call)
    if address is None:
        return
    for part in ast.walk(address):
        if isinstance(part, ast.BinOp) and isinstance(part.op, (ast.Add, ast.Sub)):
            for side in (part.left, part.right):
                if isinstance(side, ast.Constant) and isinstance(side.value, int) and side.value:
                    words = "take it from the type, with offset_of() or the member itself"
                    flaws.add(call, f"reads at an offset that was written down; {words}")
                    return


def _address(call: ast.Call) -> ast.expr | None:
    if isinstance(call.func, ast.Attribute):
        place = _READS.get(call.func.attr)
    else:
        place = _FUNCTIONS.get(_last(call.func))
    named = next((k.value for k in call.keywords if k.arg == "address"), None)
    if place is None:
        return None
    return named if named is not None or place >= len(call.args) else call.args[place]
