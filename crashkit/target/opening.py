"""open_program: a drgn.Program of a dump file, and nothing else."""

from __future__ import annotations

from drgn import BadDataError, FaultError, Program, ProgramFlags

from crashkit.errors import TargetError, UsageError
from crashkit.target import places
from crashkit.target.facts import Target
from crashkit.target.vmcoreinfo import escape

_REFUSED = {
    "text": "is a text file, not a dump, and holds no memory; give the vmcore it was printed from",
}

# What libdrgn raises for a file it cannot read, besides the bare Exception that stands for
# errors of libkdumpfile and libelf.
_OPEN_ERRORS = (OSError, ValueError, OverflowError, BadDataError, FaultError)


def open_program(target: Target) -> Program:
    """Open a dump that :func:`crashkit.target.identify` has read.

    drgn is given the dump alone: it searches no debug info, then or later. A kdump of which a
    part is missing is first copied to a temporary file in which the lost pages are marked as
    excluded, so that reading them fails instead of giving zeros or ending the process.

    :raises TargetError: drgn cannot open it; says why and what to do
    :raises UsageError: it is the running kernel's memory
    """
    if target.format in _REFUSED:
        raise TargetError(f"{target.path} {_REFUSED[target.format]}")
    places.refuse_live(target.path)
    prog = Program(vmcoreinfo=target.found_vmcoreinfo)
    _set_core_dump(prog, target, _file_for_drgn(target))
    prog.set_enabled_debug_info_finders([])
    if prog.flags & ProgramFlags.IS_LIVE:
        raise UsageError(f"{target.path} is the running kernel; crashkit reads dumps only")
    if not prog.flags & ProgramFlags.IS_LINUX_KERNEL:
        raise TargetError(f"drgn does not take {target.path} for a dump of a Linux kernel")
    return prog


def _file_for_drgn(target: Target) -> str | int:
    if not target.truncated or target.format == "elf":
        return target.readable
    # Imported here: few dumps are cut, and it imports much.
    from crashkit.target.mending import mended_copy

    return mended_copy(target)


def _set_core_dump(prog: Program, target: Target, file: str | int) -> None:
    # drgn closes the descriptor itself, also when it fails.
    try:
        prog.set_core_dump(file)
    except Exception as error:  # libkdumpfile's errors come as bare Exception; others go on
        if type(error) is not Exception and not isinstance(error, _OPEN_ERRORS):
            raise
        why = escape(str(error).encode()).rstrip(".")
        raise TargetError(f"drgn cannot open {target.path}: {why}; {_next_step(target)}") from error


def _next_step(target: Target) -> str:
    if target.truncated:
        return "the dump is truncated: copy it again"
    if target.vmcoreinfo.warnings:
        return f"{target.vmcoreinfo.warnings[0]}, so the dump may be damaged: copy it again"
    if target.format.endswith("flattened"):
        return f"rearrange it with `makedumpfile -R OUT < {target.path}` and retry"
    return "check it with `crash`, or copy the dump again"
