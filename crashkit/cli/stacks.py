"""Which stacks ``bt`` was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

from crashkit.errors import UsageError
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash import Crash, FoldedStack

_MAX_CPUS = 8192
_RANGE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


@facts
class Wanted:
    """The stacks asked for; the crashed thread's when nothing is."""

    all_cpus: bool = False
    pid: int | None = None
    cpus: tuple[int, ...] = ()
    all_tasks: bool = False

    @classmethod
    def of(cls, *, all_cpus: bool, pid: int | None, cpus: str | None, all_tasks: bool) -> Self:
        """Check the options.

        :raises UsageError: several of them, or no list of CPUs
        """
        given = {"-a": all_cpus, "-p": pid is not None, "-c": cpus is not None}
        named = [name for name, is_given in {**given, "--all-tasks": all_tasks}.items() if is_given]
        if len(named) > 1:
            raise UsageError(f"bt takes one of {' and '.join(named)}, not both")
        listed = () if cpus is None else cpu_list(cpus)
        return cls(all_cpus=all_cpus, pid=pid, cpus=listed, all_tasks=all_tasks)


def cpu_list(text: str) -> tuple[int, ...]:
    """Read ``0,2-4``; each CPU once, as first named.

    :raises UsageError: it is no such list
    """
    found: dict[int, None] = {}
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if match is None:
            raise UsageError(f"-c {text}: not CPUs like 0,2-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < _MAX_CPUS:
            raise UsageError(f"-c {text}: CPUs {item} are no range below {_MAX_CPUS}")
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)


def chosen_stacks(crash: Crash, wanted: Wanted) -> tuple[FoldedStack, ...]:
    """Walk the stacks asked for.

    :raises Unavailable: there is no such task or CPU
    """
    from crashkit.crash import FoldedStack

    if wanted.all_tasks:
        found = crash.all_stacks()
        if found:
            return found
    if wanted.all_cpus:
        stacks = crash.cpu_stacks()
    elif wanted.cpus:
        stacks = tuple(crash.stack_on(cpu) for cpu in wanted.cpus)
    elif wanted.pid is not None:
        stacks = (crash.stack_of(wanted.pid),)
    else:
        stacks = (crash.crashed_stack,)
    return tuple(FoldedStack(stacks=(stack,)) for stack in stacks or (crash.crashed_stack,))
