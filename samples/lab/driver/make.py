"""Make the dumps of one scenario: boot, crash, bring out, check, record."""

import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from driver.archive import cache_folder
from driver.dumps import Method, new_disk, save
from driver.errors import GuestError, LabError
from driver.guest import WAIT_S, Guest, Machine, boot, tail
from driver.image import add_capture, scenario_image
from driver.initramfs import Initramfs
from driver.kernels import Kernel
from driver.lock import locked
from driver.makedumpfile import UNKNOWN_KERNEL, fetch_makedumpfile
from driver.record import write_record
from driver.scenarios import Scenario

CRASHKERNEL_MB = 96
MEMORY_MB = 160
# With less, the place that KASLR gives the kernel may leave no room for the capture kernel.
KEXEC_MEMORY_MB = 384
NMI_DELAY_S = (0.3, 3.0)
# Of several: longer than twice the period in which the kernel's watchdog looks, with its threshold
# at one second.
NMI_PERIOD_S = 1.5


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for."""

    #: The crash to make.
    scenario: Scenario
    #: The kernel to crash.
    kernel: Kernel
    #: How to bring out the dump: one of QEMU's, or any number by kexec.
    methods: tuple[Method, ...]
    #: Folder for the results; with several methods, each has a folder in it.
    output: Path
    #: Levels of paging, 4 or 5.
    paging: int = 4
    #: Guest memory in MiB; None for what the method needs.
    memory: int | None = None
    #: Seconds until the guest is given up.
    deadline: float = 180.0
    #: More files for the guest, by their paths there; they replace the scenario's.
    files: Mapping[str, bytes] = field(default_factory=dict)
    #: For what the scenario leaves to chance.
    seed: int = 0


def make(request: Request) -> list[Path]:
    """Make the dumps; return the folders they are in.

    :raises GuestError: the guest did not crash as the scenario expects
    """
    kexec = [method for method in request.methods if method.is_kexec]
    if kexec and len(kexec) < len(request.methods):
        raise LabError("QEMU's own dump and those by kexec need a crash each: ask for them apart")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crashkit-lab-") as name:
        raw, console = _crash_at_last(request, Path(name))
        seconds = round(time.monotonic() - start, 1)
        # QEMU's own dump is moved, not copied: what else is made of it comes first.
        methods = sorted(request.methods, key=lambda method: not method.compressed)
        return [
            save_dump(request, method, raw[method.options], console, {"seconds": seconds})
            for method in methods
        ]


def check_console(scenario: Scenario, console: str) -> None:
    """Check that *console* shows the texts which *scenario* expects, in their order.

    :raises GuestError: one is missing
    """
    position = 0
    for pattern in scenario.expected:
        found = re.compile(pattern, re.MULTILINE).search(console, position)
        if found is None:
            raise GuestError(f"the console does not show {pattern!r}:\n{tail(console)}")
        position = found.end()


def _crash_at_last(request: Request, folder: Path) -> tuple[dict[str | None, Path], str]:
    for _ in range(request.scenario.tries - 1):
        try:
            return _crash(request, folder)
        except GuestError as error:
            print(f"lab: once more, since {error}", file=sys.stderr)
    return _crash(request, folder)


def _crash(request: Request, folder: Path) -> tuple[dict[str | None, Path], str]:
    dumps = list(dict.fromkeys(m.options for m in request.methods if m.options))
    disks = [new_disk(folder / f"disk{number}") for number in range(len(dumps))]
    memory = folder / "memory"
    # What goes into a guest is built in folders that all runs share.
    with locked(cache_folder() / "build.lock", wait=WAIT_S):
        machine = _machine(request, dumps, tuple(disks))
    with boot(machine) as guest:
        interfere(guest, request)
        if dumps:
            guest.wait_for_end()
        else:
            guest.wait_for_panic()
            guest.dump_memory(memory)
        check_console(request.scenario, guest.console())
        if UNKNOWN_KERNEL in guest.console():
            raise LabError("makedumpfile does not know this kernel: take it from a later suite")
        return dict(zip([None, *dumps], [memory, *disks], strict=True)), guest.console()


def interfere(guest: Guest, request: Request) -> None:
    """Raise the NMI or the machine check that the scenario waits for, if it does."""
    if request.scenario.nmi_after:
        guest.wait_for_line(request.scenario.nmi_after)
        time.sleep(random.Random(request.seed).uniform(*NMI_DELAY_S))
        guest.inject_nmi()
        for _ in range(request.scenario.nmis - 1):
            time.sleep(NMI_PERIOD_S)
            guest.inject_nmi()
    if request.scenario.machine_check_after:
        guest.wait_for_line(request.scenario.machine_check_after)
        guest.inject_machine_check()


def image_of(request: Request) -> Initramfs:
    """Return what the guest of *request* boots with."""
    image = scenario_image(request.scenario, request.kernel)
    for path, content in request.files.items():
        image.add(path, content)
    return image


def _machine(request: Request, dumps: list[str], disks: tuple[Path, ...]) -> Machine:
    image = image_of(request)
    arguments = request.scenario.arguments
    if dumps:
        add_capture(image, request.kernel, dumps)
        arguments += (f"crashkernel={CRASHKERNEL_MB}M",)
    return Machine(
        kernel=request.kernel,
        initramfs=image.archive(),
        arguments=arguments,
        memory=memory_of(request),
        paging=request.paging,
        cpus=request.scenario.cpus,
        disks=disks,
        deadline=request.deadline,
    )


def memory_of(request: Request) -> int:
    """Return the MiB of memory that the guest of *request* has."""
    needed = KEXEC_MEMORY_MB if request.methods[0].is_kexec else MEMORY_MB
    return request.memory or needed


def _makedumpfile(method: Method) -> str | None:
    used = method.is_kexec or method.compressed
    return fetch_makedumpfile().version if used else None


def save_dump(
    request: Request, method: Method, raw: Path, console: str, more: Mapping[str, object]
) -> Path:
    """Keep one dump of *request*, what the guest printed, and how it was made.

    :param raw: QEMU's dump, or the disk that the capture kernel wrote
    :param more: facts for ``made.json``
    :returns: the folder they are in
    """
    several = len(request.methods) > 1
    folder = request.output / method.name if several else request.output
    folder.mkdir(parents=True, exist_ok=True)
    save(method, raw, folder / "vmcore")
    (folder / "console.txt").write_text(console)
    facts: dict[str, object] = {
        "scenario": request.scenario.name,
        "dump": method.name,
        "makedumpfile": _makedumpfile(method),
        "cpus": request.scenario.cpus,
        "memory_mb": memory_of(request),
        "paging": request.paging,
        "seed": request.seed,
        **more,
    }
    write_record(folder, request.kernel, facts)
    return folder
