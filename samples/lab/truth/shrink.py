"""Make QEMU's dump small, without what no scorer reads: ``python3 -m truth.shrink VMCORE…``.

Run it with ``samples/lab`` as PYTHONPATH. Free pages, user pages and the page cache go; what the
kernel itself uses, its ring buffers among them, stays.
"""

import struct
import sys
from pathlib import Path

from driver.makedumpfile import fetch_makedumpfile

# Offsets in Elf64_Ehdr, elf(5).
PHOFF, PHNUM, EHSIZE = 32, 56, 52
EHDR_BYTES, PHDR_BYTES, SEGMENT_OFFSET = 64, 56, 8


def shrink(vmcore: Path) -> None:
    """Replace QEMU's ELF dump by a compressed one of the same crash."""
    _put_program_headers_first(vmcore)
    small = vmcore.with_name(vmcore.name + ".small")
    with Path("/dev/null").open("rb") as nothing:
        fetch_makedumpfile().run(
            "--message-level", "0", "-c", "-d", "31", vmcore, small, stdin=nothing
        )
    small.chmod(0o644)
    small.replace(vmcore)


# QEMU puts its section headers there, and makedumpfile takes them for program headers.
def _put_program_headers_first(vmcore: Path) -> None:
    with vmcore.open("r+b") as file:
        head = bytearray(file.read(EHDR_BYTES))
        (start,) = struct.unpack_from("<Q", head, PHOFF)
        (count,) = struct.unpack_from("<H", head, PHNUM)
        file.seek(start)
        segments = file.read(PHDR_BYTES * count)
        offsets = (
            struct.unpack_from("<Q", segments, PHDR_BYTES * n + SEGMENT_OFFSET)[0]
            for n in range(count)
        )
        if min(offsets) < EHDR_BYTES + len(segments):
            raise SystemExit(f"{vmcore}: no room for program headers after the ELF header")
        struct.pack_into("<QQ", head, PHOFF, EHDR_BYTES, 0)
        struct.pack_into("<6H", head, EHSIZE, EHDR_BYTES, PHDR_BYTES, count, 0, 0, 0)
        file.seek(0)
        file.write(head + segments)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        shrink(Path(name))
