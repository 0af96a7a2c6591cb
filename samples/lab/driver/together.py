"""Several crashes of one boot: the guest waits before its scenario, and goes on once for each.

What differs between them must be in ``/lab/parameters``, which the guest reads last of all. Its
state is saved before that (see ``guest/init``), so all have the same KASLR, time and addresses.
"""

import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from driver.archive import cache_folder
from driver.errors import GuestError, LabError
from driver.guest import WAIT_S, Machine, boot, restored
from driver.lock import locked
from driver.make import Request, check_console, image_of, interfere, make, memory_of, save_dump

PARAMETERS = "/lab/parameters"
WAITS = r"lab: waits for its parameters"
#: What a guest that waits is told, and for which request.
Told = tuple[str, Request]


def make_together(requests: Sequence[Request]) -> Iterator[Path]:
    """Make the dumps of *requests*, with one boot for all that boot alike; yield their folders.

    :raises GuestError: a guest did not crash as its scenario expects
    :raises LabError: a dump is asked for that only a guest of its own can make
    """
    if any(method.is_kexec for request in requests for method in request.methods):
        raise LabError("a capture kernel's dump needs a boot of its own")
    with locked(cache_folder() / "build.lock", wait=WAIT_S):
        alike: dict[str, tuple[Machine, list[Told]]] = {}
        for request in requests:
            machine, line = _machine(request)
            alike.setdefault(_digest(machine), (machine, []))[1].append((line, request))
    for machine, told in alike.values():
        if len(told) > 1:
            yield from _make_alike(machine, told)
        else:
            yield from make(told[0][1])


# The machine up to where it reads its parameters, and those as one line of shell assignments.
def _machine(request: Request) -> tuple[Machine, str]:
    image = image_of(request)
    _mode, parameters = image.files.pop(PARAMETERS, (0, b""))
    image.add("/lab/waits", b"")
    machine = Machine(
        kernel=request.kernel,
        initramfs=image.archive(),
        arguments=request.scenario.arguments,
        memory=memory_of(request),
        paging=request.paging,
        cpus=request.scenario.cpus,
        deadline=request.deadline,
        waits=True,
    )
    return machine, " ".join(parameters.decode().splitlines())


def _digest(machine: Machine) -> str:
    fixed = (machine.arguments, machine.memory, machine.paging, machine.cpus)
    shown = f"{machine.kernel.release} {fixed}"
    return hashlib.sha256(shown.encode() + machine.initramfs).hexdigest()


def _make_alike(machine: Machine, told: Sequence[Told]) -> Iterator[Path]:
    shared = [request.scenario.name for _line, request in told]
    with tempfile.TemporaryDirectory(prefix="crashkit-lab-") as name:
        folder = Path(name)
        tries = max(request.scenario.tries for _line, request in told)
        console = _boot(machine, folder / "state", tries)
        for line, request in told:
            start = time.monotonic()
            shown = _crash_at_last(machine, folder, console, line, request)
            facts = {"seconds": round(time.monotonic() - start, 1), "boot_shared_by": shared}
            for method in sorted(request.methods, key=lambda method: not method.compressed):
                yield save_dump(request, method, folder / "memory", shown, facts)


def _boot(machine: Machine, state: Path, tries: int) -> str:
    for left in reversed(range(tries)):
        try:
            with boot(machine) as guest:
                guest.wait_for_line(WAITS)
                guest.save_state(state)
                return guest.console()
        except GuestError as error:
            _once_more(error, left)
    raise AssertionError("a scenario is tried at least once")


def _crash_at_last(
    machine: Machine, folder: Path, console: str, line: str, request: Request
) -> str:
    for left in reversed(range(request.scenario.tries)):
        try:
            with (
                restored(machine, folder / "state", console) as guest,
                guest.told(line),
            ):
                interfere(guest, request)
                guest.wait_for_panic()
                guest.dump_memory(folder / "memory")
                check_console(request.scenario, guest.console())
                return guest.console()
        except GuestError as error:
            _once_more(error, left)
    raise AssertionError("a scenario is tried at least once")


def _once_more(error: GuestError, left: int) -> None:
    if not left:
        raise error
    print(f"lab: once more, since {error}", file=sys.stderr)
