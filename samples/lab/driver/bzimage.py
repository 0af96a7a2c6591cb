"""The vmlinux inside a bzImage; no header package has scripts/extract-vmlinux.

Layout: Documentation/arch/x86/boot.rst of the kernel's source, "The Real-Mode Kernel Header".
"""

import lzma
import struct
import tempfile
import zlib
from pathlib import Path

from driver.errors import LabError, run

SECTOR = 512
SETUP_SECTORS = 0x1F1
PAYLOAD = struct.Struct("<II")
PAYLOAD_FIELDS = 0x248
#: What is appended to what is compressed: its size before.
SIZE_BYTES = 4
# First bytes of what is compressed → the program that unpacks it.
PROGRAMS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4"}
XZ, GZIP = b"\xfd7zXZ", b"\x1f\x8b"


def extract_vmlinux(image: Path, vmlinux: Path) -> None:
    """Write the ELF file that *image* is made of to *vmlinux*.

    :raises LabError: it is compressed in a way that is not known here
    """
    packed = _payload(image.read_bytes())
    if packed.startswith(XZ):
        vmlinux.write_bytes(lzma.LZMADecompressor().decompress(packed))
    elif packed.startswith(GZIP):
        vmlinux.write_bytes(zlib.decompressobj(wbits=31).decompress(packed))
    elif packed[:4] in PROGRAMS:
        with tempfile.NamedTemporaryFile() as file:
            file.write(packed[:-SIZE_BYTES])
            file.flush()
            run(["sh", "-c", '"$0" -qdc "$1" >"$2"', PROGRAMS[packed[:4]], file.name, vmlinux])
    else:
        raise LabError(f"{image} is packed in an unknown way: {packed[:6].hex()}")


def _payload(image: bytes) -> bytes:
    offset, size = PAYLOAD.unpack_from(image, PAYLOAD_FIELDS)
    start = ((image[SETUP_SECTORS] or 4) + 1) * SECTOR + offset
    return image[start : start + size]
