"""Loaded modules: where they lie, their symbols and their BTF."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from drgn import Module, Object, Program, RelocatableModule
from drgn.helpers.linux.bpf import bpf_btf_for_each

from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK, bounded, read_bytes
from crashkit.symbols.btf import Blob
from crashkit.symbols.lookup import ModuleRange

_MOST_INITIAL = 64 << 20
MAX_MODULES = 4096
_MAX_BTF = 64 << 20


def loaded_modules(
    prog: Program,
) -> tuple[list[tuple[RelocatableModule, ModuleRange]], list[str]]:
    """List the loaded modules with their ranges.

    :returns: modules, and a sentence for each thing that could not be read
    """
    found: list[tuple[RelocatableModule, ModuleRange]] = []
    problems: list[str] = []
    try:
        with _warnings_of_drgn(problems):
            for module, _new in bounded(prog.loaded_modules(), MAX_MODULES, "the module list"):
                described = _describe(module)
                if described is not None and isinstance(module, RelocatableModule):
                    found.append((module, described))
    except (*BROKEN_WALK, Unavailable) as error:
        problems.append(f"the module list could not be read to its end: {error}")
    return found, problems


@contextmanager
def _warnings_of_drgn(problems: list[str]) -> Iterator[None]:
    # drgn skips a damaged module, or ends the list, with nothing but a log message.
    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            problems.append(f"the module list: {record.getMessage()}")

    def keep_unprintable(_unraisable: object) -> None:
        problems.append("the module list: a module's name is not text")

    logger, handler = logging.getLogger("drgn"), Keep(logging.WARNING)
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    # drgn cannot even log a name that is not UTF-8; Python would print a traceback of that.
    hook, sys.unraisablehook = sys.unraisablehook, keep_unprintable
    try:
        yield
    finally:
        sys.unraisablehook = hook
        logger.removeHandler(handler)
        logger.propagate = propagated


def _describe(module: Module) -> ModuleRange | None:
    address_ranges = module.address_ranges
    if address_ranges is None or not isinstance(module, RelocatableModule):
        return None  # vmlinux itself
    return ModuleRange(
        name=module.name.encode("ascii", "backslashreplace").decode(),
        ranges=(*address_ranges, *_initial(module.object, address_ranges)),
        object_address=int(module.object),
        build_id=module.build_id.hex() if module.build_id else None,
    )


def _initial(module: Object, known: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    # Code that is freed once the module has loaded. Up to 6.3 it has a layout of its own
    # (ac3b43283923, "module: replace module_layout with module_memory"), which drgn leaves out.
    try:
        layout = module.init_layout
        start, size = int(layout.base), int(layout.size)
    except (AttributeError, *BROKEN_WALK):
        return ()
    if not start or not 0 < size <= _MOST_INITIAL or any(a <= start < b for a, b in known):
        return ()
    return ((start, start + size),)


def module_blobs(prog: Program, vmlinux: Blob) -> tuple[list[Blob], list[str]]:
    """Read the modules' BTF from the kernel's own copies (``struct btf``).

    ``struct module.btf_data`` dangles after load; the copies in ``btf_idr`` stay. Since
    Linux 5.11 (36e68442d1af, "bpf: Load and verify kernel module BTFs").

    :returns: blobs, and a sentence for each one that could not be read
    """
    blobs: list[Blob] = []
    problems: list[str] = []
    try:
        for btf in bounded(bpf_btf_for_each(prog), MAX_MODULES, "btf_idr"):
            if not btf.kernel_btf or not btf.base_btf:
                continue
            try:
                blobs.append(_module_blob(prog, btf, vmlinux))
            except (*BROKEN_WALK, Unavailable) as error:
                problems.append(f"a module's BTF could not be read: {error}")
    except (*BROKEN_WALK, AttributeError, Unavailable) as error:
        problems.append(f"the modules' BTF could not be listed: {error}")
    return blobs, problems


def _module_blob(prog: Program, btf: Object, vmlinux: Blob) -> Blob:
    name = btf.name.string_().decode("ascii", "backslashreplace")
    size = btf.data_size.value_()
    if size > _MAX_BTF:
        raise Unavailable(f"BTF of {name}", Reason.CORRUPTED, f"{size} bytes")
    data = read_bytes(prog, btf.data.value_(), size, f"BTF of {name}")
    return Blob(name, data, vmlinux)


def module_percpu(prog: Program, modules: Sequence[ModuleRange], name: str) -> int | None:
    """Return ``struct module.percpu`` of a module, as an address; None if it has none."""
    for module in modules:
        if module.name == name:
            base = Object(prog, "struct module *", module.object_address).percpu.value_()
            return int(base) or None
    return None
