"""The structures that one module's own BTF defines."""

from __future__ import annotations

from contextlib import suppress

from drgn import Program, Type, TypeKind

from crashkit.errors import Unavailable
from crashkit.symbols.btf import Kind
from crashkit.symbols.btf_types import BtfTypes

CACHE_KEY = "crashkit.btf"
_MOST = 400


def has_btf(prog: Program) -> bool:
    """Whether types may come from BTF, which has no addresses of functions."""
    return isinstance(prog.cache.get(CACHE_KEY), BtfTypes)


def module_prototype(prog: Program, module: str, name: str) -> Type | None:
    """Find the type of a function that a module's BTF has, whoever else has its name.

    :returns: None where it has none of that name, or more than one
    """
    types = prog.cache.get(CACHE_KEY)
    if not isinstance(types, BtfTypes):
        return None
    found: list[Type] = []
    for blob in types.module_blobs():
        if _plain(blob.name) != _plain(module):
            continue
        for type_id in blob.ids_named(name):
            record = blob.record(type_id)
            if record.kind is Kind.FUNC and type_id >= blob.start_id:
                with suppress(Unavailable):
                    found.append(types.make(blob, record.size_or_type))
    return found[0] if len(found) == 1 and found[0].kind is TypeKind.FUNCTION else None


def _plain(module: str) -> str:
    return module.replace("-", "_")


def module_structures(prog: Program, module: str) -> tuple[Type, ...]:
    """List the structures that a module defines and the kernel does not.

    Empty where the dump has no BTF, or none of that module; at most 400.
    """
    types = prog.cache.get(CACHE_KEY)
    if not isinstance(types, BtfTypes):
        return ()
    found: list[Type] = []
    for blob in types.module_blobs():
        if _plain(blob.name) != _plain(module):
            continue
        for type_id in blob.ids_of_kind(Kind.STRUCT)[:_MOST]:
            try:
                made = types.make(blob, type_id)
            except Unavailable:
                continue  # a damaged record says nothing about the others
            if made.kind is TypeKind.STRUCT and made.tag and made.is_complete():
                found.append(made)
    return tuple(found)
