"""Build the reconstructed dump and its vmlinux: ``python3 -m golden.build FOLDER``.

Every byte of the dump comes from ``known.py``, ``text.s`` and ``oops.txt``, or follows from
them by the ABI (frame pointers, ``struct pt_regs``). What the report does not print is not
in the dump, not even as zeros: its segments have the length of what is known.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from drgn import Program, offsetof
from kdumpling import KdumpBuilder

from golden import known

HERE = Path(__file__).parent
_WORD = struct.Struct("<Q")
_REGISTERS = tuple(known.REGISTERS)

# Where the dump's physical memory lies: a choice of ours. One 1-GiB page for each gigabyte
# of the direct map, 2-MiB pages for the kernel's image and for the modules.
_DIRECT = 0xFFFF893C00000000
_IMAGE = 0xFFFFFFFF80000000
_MODULES, _MODULES_AT = 0xFFFFFFFFC0000000, 0x200000000
_TABLES_AT = 0x300000000
_PRESENT, _LARGE = 0x3, 0x80

Piece = tuple[int, bytes]
"""A virtual address and what is there."""


def main() -> None:
    """Build ``vmlinux`` and ``vmcore`` in a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    build_vmlinux(folder / "vmlinux")
    check_layout(folder / "vmlinux")
    pieces = [*code(folder), *stack(), *objects(folder / "vmlinux"), *log(folder / "vmlinux")]
    write_dump(folder / "vmcore", pieces)


def run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True)


def places() -> dict[str, int]:
    """Start of every function and object."""
    found = {**known.OBJECTS, **known.MADE_UP, **known.STARTS}
    for _slot, pc, name in known.FRAMES:
        if name in known.OFFSETS:
            found.setdefault(name, pc - known.OFFSETS[name])
        else:
            found.setdefault(name, (pc - 1) & ~0xF)
    return found


def build_vmlinux(output: Path) -> None:
    """Compile the declarations and put every name at the report's address."""
    script = output.with_suffix(".lds")
    compiled = [compile_without_lines(name, output.parent) for name in ("layout.c", "printk.c")]
    lines = ["SECTIONS {", f"  .note.gnu.build-id {known.STEXT:#x} : {{ *(.note.gnu.build-id) }}"]
    for name, address in sorted(places().items(), key=lambda item: item[1]):
        is_object = name in known.OBJECTS or name in known.MADE_UP
        section = f".{'data' if is_object else 'text'}.{name}"
        lines.append(f"  {section} {address:#x} : {{ KEEP(*({section})) }}")
    lines += [
        "  /DISCARD/ : { *(.comment) *(.note.GNU*) *(.eh_frame) *(.bss) *(.text) *(.data) }",
        f"  _stext = {known.STEXT:#x};",
        f"  _end = {known.END:#x};",
        "}",
    ]
    script.write_text("\n".join(lines))
    run(
        "ld",
        "-nostdlib",
        "--build-id=sha1",
        "--no-gc-sections",
        "-T",
        script,
        "-o",
        output,
        *compiled,
    )
    # The bytes of functions and objects are the dump's alone.
    run("objcopy", "--only-keep-debug", output)
    for path in compiled:
        path.unlink()
    script.unlink()


def compile_without_lines(name: str, folder: Path) -> Path:
    """Compile a file; its line numbers are not el7's, so none are kept."""
    assembler = folder / f"{name}.s"
    options = ["-ffreestanding", "-fno-pic", "-mcmodel=kernel", "-fno-asynchronous-unwind-tables"]
    renamed = f"-fdebug-prefix-map={HERE}=golden"
    subprocess.run(
        ["gcc", "-g", "-O1", "-S", name, "-o", str(assembler.resolve()), *options, renamed],
        cwd=HERE, check=True,
    )  # fmt: skip
    kept = [line for line in assembler.read_text().splitlines() if not line.startswith("\t.loc")]
    assembler.write_text("\n".join(kept) + "\n")
    compiled = folder / f"{name}.o"
    run("as", assembler, "-o", compiled)
    assembler.unlink()
    return compiled


def check_layout(vmlinux: Path) -> None:
    """Compare the declarations with every offset that the report prints."""
    prog = types_of(vmlinux)
    for name, members in known.PRINTED_OFFSETS.items():
        for member, offset in members.items():
            found = offsetof(prog.type(f"struct {name}"), member)
            assert found == offset, f"{name}.{member} is at {found:#x}, printed {offset:#x}"
    assert prog.type("struct nf_conn").size == known.NF_CONN_SIZE


def types_of(vmlinux: Path) -> Program:
    """Read the compiled declarations."""
    prog = Program()
    module = prog.extra_module("golden", create=True)
    module.try_file(vmlinux, force=True)
    return prog


def code(folder: Path) -> Iterator[Piece]:
    """Assemble the printed instructions."""
    assembled = folder / "text.o"
    run("as", HERE / "text.s", "-o", assembled)
    listing = subprocess.run(["nm", assembled], capture_output=True, text=True, check=True).stdout
    labels = {name: int(value, 16) for value, _kind, name in map(str.split, listing.splitlines())}
    raw = folder / "text.bin"
    run("objcopy", "-O", "binary", "-j", ".text", assembled, raw)
    data = raw.read_bytes()
    starts = sorted((at, name) for name, at in labels.items() if name.startswith("piece_"))
    ends = sorted((at, name) for name, at in labels.items() if name.startswith("end_"))
    for (start, first), (end, last) in zip(starts, ends, strict=True):
        address = int(first.removeprefix("piece_"), 16)
        expected = int(last.removeprefix("end_"), 16)
        assert address + end - start == expected, f"{first}: ends at {address + end - start:x}"
        yield address, data[start:end]
    assembled.unlink()
    raw.unlink()


def stack() -> Iterator[Piece]:
    """Yield the words of the stack that are printed, or follow by the frame pointers."""
    words = dict(known.STACK_WORDS)
    ops = places()["ipv4_conntrack_ops"] + known.OPS_OFFSET
    words |= dict.fromkeys(known.STACK_OPS, ops)
    for (slot, pc, _name), outer in zip(known.FRAMES, (*known.FRAMES[1:], None), strict=True):
        words[slot] = pc
        if slot - 8 < known.REGISTERS["RSP"] and outer and outer[0] > known.REGISTERS["RSP"]:
            words[slot - 8] = known.REGISTERS["RBP"]  # pushed by do_page_fault
        elif outer is not None:
            words[slot - 8] = outer[0] - 8
    top = known.THREAD_INFO + known.THREAD_SIZE
    words[known.FRAMES[-1][0] - 8] = known.USER_REGISTERS["RBP"]
    words |= exception(known.FRAMES[9][0] + 8, known.REGISTERS)
    words |= exception(top - 8 * len(_REGISTERS), known.USER_REGISTERS)
    for address, word in words.items():
        yield address, _WORD.pack(word)


def exception(address: int, registers: dict[str, int]) -> dict[int, int]:
    """Lay out ``struct pt_regs``."""
    return {address + 8 * n: registers[name] for n, name in enumerate(_REGISTERS)}


def objects(vmlinux: Path) -> Iterator[Piece]:
    """Yield the members that the report prints."""
    prog = types_of(vmlinux)

    def member(type_: str, address: int, name: str, data: bytes) -> Piece:
        return address + offsetof(prog.type(f"struct {type_}"), name), data

    u16, u32, word = struct.Struct("<H").pack, struct.Struct("<I").pack, _WORD.pack
    yield member("nf_conn", known.FAULTING_CT, "ct_net", word(known.OBJECTS["init_net"]))
    yield member("sk_buff", known.SKB, "dev", word(known.DEVICE))
    yield member("sk_buff", known.SKB, "nfct", word(known.SKB_CT))
    yield member("sk_buff", known.SKB, "network_header", u16(known.NETWORK_HEADER))
    yield member("sk_buff", known.SKB, "head", word(known.HEAD))
    yield member("net_device", known.DEVICE, "name", known.DEVICE_NAME.ljust(16, b"\0"))
    destination = bytes.fromhex("0a4c3b73") + bytes(12) + bytes.fromhex("12b5 11 00")
    yield member("nf_conn", known.SKB_CT, "tuplehash[0].tuple.dst", destination)
    yield known.HEAD + known.NETWORK_HEADER, known.IP_HEADER
    yield member("task_struct", known.TASK, "stack", word(known.THREAD_INFO))
    yield member("task_struct", known.TASK, "pid", u32(known.PID))
    yield member("task_struct", known.TASK, "comm", known.COMM.encode().ljust(16, b"\0"))
    yield member("thread_info", known.THREAD_INFO, "task", word(known.TASK))
    yield member("thread_info", known.THREAD_INFO, "cpu", u32(known.CPU))


def log(vmlinux: Path) -> Iterator[Piece]:
    """Lay the printed lines out as the kernel's ring buffer of records."""
    record = types_of(vmlinux).type("struct log")
    at = {member.name: (member.bit_offset or 0) // 8 for member in record.members or ()}
    data = b""
    for line in (HERE / "oops.txt").read_text().splitlines():
        stamp = re.fullmatch(r"\[ *(\d+)\.(\d{6})\] (.*)", line)
        assert stamp, line
        text = stamp[3].encode()
        size = (record.size + len(text) + 7) & ~7
        head = bytearray(record.size)
        struct.pack_into("<Q", head, at["ts_nsec"], int(stamp[1] + stamp[2]) * 1000)
        struct.pack_into("<H", head, at["len"], size)
        struct.pack_into("<H", head, at["text_len"], len(text))
        head[at["flags"]] = 1 << 1  # LOG_NEWLINE
        data += (bytes(head) + text).ljust(size, b"\0")
    yield known.LOG_TEXT, data + bytes(record.size)
    yield known.MADE_UP["log_buf"], _WORD.pack(known.LOG_TEXT)
    for name, value in (
        ("log_buf_len", 1 << 20),
        ("log_first_idx", 0),
        ("log_next_idx", len(data)),
    ):
        yield known.MADE_UP[name], struct.pack("<I", value)
    yield known.MADE_UP["log_first_seq"], _WORD.pack(0)


def physical(address: int) -> int:
    """Where a virtual address lies in this dump."""
    if address >= _MODULES:
        return address - _MODULES + _MODULES_AT
    if address >= _IMAGE:
        return address - _IMAGE
    return address - _DIRECT


def page_tables() -> Iterator[Piece]:
    """Yield physical addresses and pages of a four-level table (SDM vol. 3, 4.5)."""
    root = physical(known.MADE_UP["swapper_pg_dir"])
    direct, kernel, image, modules = (_TABLES_AT + n * 4096 for n in range(4))
    tables: dict[int, dict[int, int]] = {root: {}, direct: {}, kernel: {}, image: {}, modules: {}}
    tables[root] = {_DIRECT >> 39 & 511: direct | _PRESENT, 511: kernel | _PRESENT}
    first = _DIRECT >> 30 & 511
    tables[direct] = {first + n: n << 30 | _PRESENT | _LARGE for n in range(8)}
    tables[kernel] = {510: image | _PRESENT, 511: modules | _PRESENT}
    tables[image] = {n: n << 21 | _PRESENT | _LARGE for n in range(512)}
    tables[modules] = {n: _MODULES_AT + (n << 21) | _PRESENT | _LARGE for n in range(512)}
    for address, entries in tables.items():
        yield address, b"".join(_WORD.pack(entries.get(n, 0)) for n in range(512))


def write_dump(output: Path, pieces: list[Piece]) -> None:
    """Write the ELF vmcore; kdumpling keeps segments as short as they are given."""
    builder = KdumpBuilder(arch="x86_64")
    builder.set_vmcoreinfo(
        f"OSRELEASE={known.RELEASE}\nPAGESIZE=4096\nNUMBER(phys_base)=0\n"
        f"SYMBOL(swapper_pg_dir)={known.MADE_UP['swapper_pg_dir']:x}\n"
        f"SYMBOL(_stext)={known.STEXT:x}\nKERNELOFFSET=0\n"
    )
    for address, data in page_tables():
        builder.add_memory_segment(phys_addr=address, data=data)
    for address, data in merged(pieces):
        builder.add_memory_segment(phys_addr=physical(address), virt_addr=address, data=data)
    builder.add_cpu_context(cpu_id=0, registers=dict(known.REGISTERS), pid=known.PID)
    builder.write(str(output))


def merged(pieces: list[Piece]) -> Iterator[Piece]:
    """Join what is adjacent; nothing may be given twice."""
    start, data = 0, b""
    for address, more in sorted(pieces):
        assert address >= start + len(data) or not data, f"{address:#x} is given twice"
        if data and address == start + len(data):
            data += more
            continue
        if data:
            yield start, data
        start, data = address, more
    yield start, data


if __name__ == "__main__":
    main()
