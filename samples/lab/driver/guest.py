"""Run one QEMU guest until its kernel has crashed, and bring out its memory.

Guests run one at a time (see :data:`WAIT_S`), each with a deadline.
"""

import json
import re
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from driver.archive import cache_folder
from driver.errors import GuestError, LabError
from driver.kernels import Kernel
from driver.lock import locked

QEMU = "qemu-system-x86_64"
#: Seconds to wait for another guest to end before giving up.
WAIT_S = 1800.0
# The last line of panic(); what comes after it is a machine that does nothing.
PANICKED = re.compile(r"---\[ end Kernel panic")
# What scripts and modules print when a step fails.
FAILED = re.compile(r"lab: failed: .*")
CONSOLE_TAIL = 25
# What inject_machine_check() puts into the registers of a bank (Intel SDM volume 3B, 16.3): valid,
# uncorrected, enabled, address and miscellaneous data valid, context corrupt; a memory read.
BANK = 8
STATUS = 0xBE00_0000_0000_009F
GLOBAL_STATUS = 0x5
ERROR_ADDRESS = 0x1234000
MISC = 0x86


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A guest to boot."""

    #: The kernel to boot.
    kernel: Kernel
    #: The initramfs, as a cpio archive.
    initramfs: bytes
    #: Words added to the kernel's command line.
    arguments: tuple[str, ...] = ()
    #: Guest memory in MiB.
    memory: int = 160
    #: Number of CPUs.
    cpus: int = 2
    #: Levels of paging, 4 or 5.
    paging: int = 4
    #: Empty raw NVMe disks, in the order of /dev/nvme0n1, /dev/nvme1n1, …
    disks: tuple[Path, ...] = ()
    #: Seconds from power-on to the end.
    deadline: float = 180.0
    #: Whether it has a second serial port, from which it reads what to do.
    waits: bool = False


class Guest:
    """A running guest."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, end: float) -> None:
        self._process = process
        self._monitor = folder / "qmp"
        self._console = folder / "console"
        self._orders = folder / "orders"
        self._end = end

    def console(self) -> str:
        """What the guest has printed so far."""
        if not self._console.exists():
            return ""
        return self._console.read_bytes().decode(errors="replace").replace("\r", "")

    def wait_for_panic(self) -> None:
        """Return when the kernel has panicked.

        :raises GuestError: the guest ended, reported a failure or met its deadline before that
        """
        self._wait(lambda: PANICKED.search(self.console()) is not None, "panic")

    def wait_for_line(self, pattern: str) -> None:
        """Return when the console shows the regular expression *pattern*.

        :raises GuestError: the guest ended, reported a failure or met its deadline before that
        """
        self._wait(lambda: re.search(pattern, self.console()) is not None, "line " + pattern)

    def inject_nmi(self) -> None:
        """Raise an NMI, for which the guest knows no reason."""
        with self._control() as stream:
            _command(stream, "inject-nmi")

    def inject_machine_check(self) -> None:
        """Raise a machine check on CPU 0: a memory error that nothing corrected."""
        words = f"mce 0 {BANK} {STATUS:#x} {GLOBAL_STATUS:#x} {ERROR_ADDRESS:#x} {MISC:#x}"
        with self._control() as stream:
            _command(stream, "human-monitor-command", {"command-line": words})

    def wait_for_end(self) -> None:
        """Return when the guest has switched itself off.

        :raises GuestError: the guest reported a failure or met its deadline before that
        """
        self._wait(lambda: self._process.poll() is not None, "end")

    def dump_memory(self, path: Path) -> None:
        """Write the guest's memory and registers to *path* as an ELF core dump."""
        with self._control() as stream:
            _command(stream, "stop")
            target = {"paging": False, "protocol": f"file:{path.resolve()}"}
            _command(stream, "dump-guest-memory", target)

    def save_state(self, path: Path) -> None:
        """Stop the guest for good and write its state to *path*, for :func:`restored`."""
        with self._control() as stream:
            _command(stream, "stop")
            _command(stream, "migrate", {"uri": f"exec:cat >{shlex.quote(str(path))}"})
            self._wait(lambda: _has_saved(stream), "saved state")

    def resume(self) -> None:
        """Let a restored guest go on."""
        self._wait(self._monitor.exists, "monitor")
        with self._control() as stream:
            self._wait(lambda: _status(stream) == "paused", "restored state")
            _command(stream, "cont")

    @contextmanager
    def told(self, line: str) -> Iterator[None]:
        """Send *line* to the second serial port, which stays connected within the block."""
        with socket.socket(socket.AF_UNIX) as port:
            port.connect(str(self._orders))
            port.sendall(f"{line}\n".encode())
            yield

    @contextmanager
    def _control(self) -> Iterator[TextIO]:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(max(1.0, self._end - time.monotonic()))
            monitor.connect(str(self._monitor))
            with monitor.makefile("rw") as stream:
                json.loads(stream.readline())
                _command(stream, "qmp_capabilities")
                yield stream

    def _wait(self, is_over: Callable[[], bool], what: str) -> None:
        while not is_over():
            failed = FAILED.search(self.console())
            if failed:
                raise GuestError(f"the guest stopped: {failed[0]}\n{tail(self.console())}")
            if self._process.poll() is not None:
                raise GuestError(f"the guest ended without a {what}:\n{tail(self.console())}")
            if time.monotonic() > self._end:
                raise GuestError(f"no {what} before the deadline:\n{tail(self.console())}")
            time.sleep(0.1)


@contextmanager
def boot(machine: Machine) -> Iterator[Guest]:
    """Boot *machine*, alone; it is killed when the block is left."""
    with _started(machine, "", ()) as guest:
        yield guest


@contextmanager
def restored(machine: Machine, state: Path, console: str) -> Iterator[Guest]:
    """Go on where *machine* was when *state* was saved, alone; killed when the block is left.

    :param console: what it had printed until then
    """
    with _started(machine, console, ("-incoming", f"exec:cat {shlex.quote(str(state))}")) as guest:
        guest.resume()
        yield guest


@contextmanager
def _started(machine: Machine, console: str, options: tuple[str, ...]) -> Iterator[Guest]:
    with (
        locked(cache_folder() / "guest.lock", wait=WAIT_S),
        tempfile.TemporaryDirectory(prefix="crashkit-lab-") as name,
    ):
        folder = Path(name)
        (folder / "initramfs").write_bytes(machine.initramfs)
        (folder / "console").write_text(console)
        command = [*_command_line(machine, folder), *options]
        with (folder / "qemu.log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield Guest(process, folder, time.monotonic() + machine.deadline)
        finally:
            process.kill()
            process.wait()


def tail(console: str) -> str:
    """Return the last lines of *console*."""
    return "\n".join(console.splitlines()[-CONSOLE_TAIL:])


def _command_line(machine: Machine, folder: Path) -> list[str]:
    arguments = ("console=ttyS0", "panic=0", "oops=panic", *machine.arguments)
    words: list[str] = [QEMU, "-accel", "tcg,thread=multi", "-machine", "q35", "-nodefaults"]
    words += ["-display", "none", "-vga", "none", "-no-reboot", "-device", "vmcoreinfo"]
    words += ["-cpu", "max,la57=off" if machine.paging == 4 else "max"]
    words += ["-m", str(machine.memory), "-smp", str(machine.cpus)]
    words += ["-chardev", f"file,id=console,path={folder / 'console'},append=on"]
    words += ["-serial", "chardev:console"]
    if machine.waits:
        words += ["-serial", f"unix:{folder / 'orders'},server=on,wait=off"]
    words += ["-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"]
    words += ["-kernel", str(machine.kernel.image), "-initrd", str(folder / "initramfs")]
    words += ["-append", " ".join(arguments)]
    for number, disk in enumerate(machine.disks):
        words += ["-drive", f"file={disk},format=raw,if=none,cache=unsafe,id=disk{number}"]
        words += ["-device", f"nvme,serial=lab{number},drive=disk{number}"]
    return words


def _status(stream: TextIO) -> object:
    return _command(stream, "query-status").get("status")


def _has_saved(stream: TextIO) -> bool:
    state = _command(stream, "query-migrate").get("status")
    if state == "failed":
        raise LabError("QEMU cannot save the state of this guest")
    return state == "completed"


def _command(stream: TextIO, name: str, arguments: object = None) -> dict[str, object]:
    request = {"execute": name} | ({"arguments": arguments} if arguments else {})
    stream.write(json.dumps(request) + "\n")
    stream.flush()
    while True:
        answer = json.loads(stream.readline())
        if "error" in answer:
            raise LabError(f"QEMU refused {name}: {answer['error']['desc']}")
        if "return" in answer:
            return answer["return"]
