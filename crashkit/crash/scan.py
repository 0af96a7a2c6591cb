"""Words on the stacks of the CPUs, found without walking them."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import FaultError, Program
from drgn.helpers.linux.sched import cpu_curr

from crashkit.crash.tasks import present_cpus
from crashkit.errors import Unavailable
from crashkit.memory import read_bytes


def words_on_other_stacks(prog: Program, here: int, word: int) -> Iterator[tuple[int, int]]:
    """Yield (CPU, stack address) of each aligned ``word`` on the other CPUs' current stacks.

    A word on a stack may be left over from an earlier call; it is a hint, not a proof.

    :param here: CPU that is left out
    """
    needle = word.to_bytes(8, "little")
    for cpu in present_cpus(prog):
        if cpu == here:
            continue
        try:
            low = int(cpu_curr(prog, cpu).stack)
            stack = read_bytes(prog, low, int(prog["THREAD_SIZE"]))
        except (FaultError, Unavailable):
            continue
        at = stack.find(needle)
        while at >= 0:
            if at % 8 == 0:
                yield cpu, low + at
            at = stack.find(needle, at + 1)
