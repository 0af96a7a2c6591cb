"""identify: which kind of dump a file is and what it says of itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from crashkit.errors import TargetError
from crashkit.target import elf, flattened, foreign, kdump, machines, pages, places, unpacking
from crashkit.target.facts import Target
from crashkit.target.notes import MAX_BYTES, Notes, read_notes
from crashkit.target.source import FileSource, Source
from crashkit.target.text_carriers import (
    is_kernel_report,
    is_record,
    open_records,
    open_report,
)
from crashkit.target.vmcoreinfo import MAX_BYTES as MAX_VMCOREINFO
from crashkit.target.vmcoreinfo import VmcoreInfo, escape, parse


def identify(path: str | Path) -> Target:
    """Read what a dump, a log, or the dump in a directory says of itself.

    Only headers, notes and page descriptors are read.

    :raises UsageError: the path is the running kernel's memory
    :raises TargetError: it cannot be opened, is no dump of an x86-64 Linux kernel, or is cut
        or garbled so that VMCOREINFO cannot be read
    """
    with places.open_dump(path) as file:
        if is_record(Path(file.name)):
            return open_records(Path(file.name), others=Path(path).is_dir())
        target = identify_source(file)
    if target.format == "text" and Path(path).is_dir():
        return replace(target, release=_release_beside(Path(file.name)))
    return _joined(target) if target.format == "kdump-split" else target


def _release_beside(log: Path) -> str | None:
    # abrt keeps what it knows in a file each; "kernel" is the release.
    try:
        with places.open_file(log.parent / "kernel") as file:
            words = file.read(0, 128).split()
    except TargetError:
        return None
    return escape(words[0]) if len(words) == 1 else None


def _joined(part: Target) -> Target:
    # Imported here: few dumps are split.
    from crashkit.target import joining

    parts = joining.find_parts(Path(part.path))
    descriptor = joining.joined_copy(parts)
    whole = identify_source(FileSource(descriptor, part.path))
    joined = f"joined from {len(parts)} parts: {', '.join(p.name for p in parts[:8])}"
    return replace(
        whole,
        format="kdump-split",
        file=f"/proc/self/fd/{descriptor}",
        warnings=(joined, *whole.warnings),
    )


def identify_source(file: FileSource) -> Target:
    """As :func:`identify`, for a file that is open."""
    if file.size == 0:
        raise TargetError(f"{file.name} is empty; the dump was not written or not copied")
    head = file.read(0, foreign.HEAD_SIZE)
    packing = unpacking.packing_of(head)
    if packing is not None:
        return _unpacked(file, packing)
    source: Source = file
    flat = None
    if head.startswith(flattened.SIGNATURE):
        source = flat = flattened.FlattenedSource(file)
        head = source.read(0, foreign.HEAD_SIZE)
    if head.startswith(elf.MAGIC):
        foreign.refuse_elf_image(source, head)
        return _elf_target(source, flat)
    if head.startswith(kdump.SIGNATURES):
        return _kdump_target(source, flat)
    if flat is not None:
        raise TargetError(
            f"{file.name} is a flattened dump with neither an ELF nor a kdump header at its "
            f"start{_if_cut(flat)}; copy the dump again"
        )
    foreign.refuse_foreign(source, head)
    if is_kernel_report(head):
        return open_report(file)
    if foreign.is_text(head):
        return Target(path=file.name, format="text")
    raise TargetError(
        f"{file.name} is neither a vmcore (ELF, kdump-compressed or flattened) nor text; "
        "give the dump that kdump, makedumpfile or QEMU wrote"
    )


def _unpacked(file: FileSource, packing: unpacking.Packing) -> Target:
    found = unpacking.unpack(file, packing)
    inner = found.file.read(0, foreign.HEAD_SIZE)
    if unpacking.packing_of(inner) is not None:
        raise TargetError(f"{file.name} is compressed more than once; unpack it")
    target = identify_source(found.file)
    warnings = target.warnings
    if not found.complete:
        warnings = (f"the {found.packing} file around the dump is cut or damaged", *warnings)
    # The descriptor stays open as long as the process: the file has no other name.
    place = f"/proc/self/fd/{found.file.descriptor}"
    return replace(
        target,
        file=target.file or place,
        warnings=warnings,
        truncated=target.truncated or not found.complete,
    )


def _elf_target(source: Source, flat: flattened.FlattenedSource | None) -> Target:
    dump = elf.read_elf(source)
    _refuse_garbled_sections(source, flat)
    missing = _missing(dump.missing_bytes, flat)
    truncated = missing > 0 or dump.incomplete or _is_cut(flat)
    searched = _searched(source, dump)
    raw = dump.notes.vmcoreinfo if searched is None else searched
    info = _vmcoreinfo(source, raw, truncated, _elf_without_vmcoreinfo(dump))
    return Target(
        path=source.name,
        found_vmcoreinfo=searched,
        format="elf-flattened" if flat else "elf",
        compression="none",
        arch=machines.X86_64,
        release=info.release,
        build_id=info.build_id,
        crash_time=info.crash_time,
        truncated=truncated,
        missing_bytes=missing,
        vmcoreinfo=info,
        cpus=dump.notes.cpus or None,
        registers=dump.notes.registers,
        warnings=(
            *(["VMCOREINFO was found in memory; the dump has no note of it"] if searched else ()),
            *info.warnings,
            *_elf_warnings(dump, truncated, missing, flat),
        ),
    )


def _searched(source: Source, dump: elf.ElfDump) -> bytes | None:
    # Only where it can be: a core of a process, or a flattened file, is not searched.
    if dump.notes.vmcoreinfo is not None or not isinstance(source, FileSource):
        return None
    if dump.notes.user_process or (not dump.has_kernel_addresses and not dump.notes.from_qemu):
        return None
    from crashkit.target.searching import find_vmcoreinfo

    return find_vmcoreinfo(source)


def _refuse_garbled_sections(source: Source, flat: flattened.FlattenedSource | None) -> None:
    # Only flattened files go to libkdumpfile, which follows section headers out of the file
    # and crashes; drgn itself never looks at sections.
    if flat is not None and flat.walked and flat.complete and not elf.sections_fit(source):
        raise TargetError(
            f"{source.name} is garbled: its section headers point out of the dump; "
            f"rearrange it with `makedumpfile -R OUT < {source.name}`"
        )


def _elf_without_vmcoreinfo(dump: elf.ElfDump) -> str:
    notes = dump.notes
    if notes.from_qemu:
        return (
            "is a memory dump by QEMU whose guest did not publish VMCOREINFO: run QEMU with "
            "`-device vmcoreinfo` and load qemu_fw_cfg in the guest before dumping"
        )
    if notes.from_xen:
        return "is a dump by Xen without VMCOREINFO; dump the guest kernel with kdump instead"
    if notes.user_process or not dump.has_kernel_addresses:
        name = f" ({notes.command})" if notes.command else ""
        return (
            f"is the core of a user-space process{name}, not of a kernel: use gdb, or give a vmcore"
        )
    return "has no VMCOREINFO note, so it cannot be told which kernel it is of; use crash with -s"


def _elf_warnings(
    dump: elf.ElfDump, truncated: bool, missing: int, flat: flattened.FlattenedSource | None
) -> Iterator[str]:
    if truncated:
        yield _truncation_warning(missing)
    # libkdumpfile, which drgn asks for flattened files, fails to read such memory instead.
    if dump.zero_filled and (flat is None or truncated):
        yield (
            f"{dump.zero_filled} bytes of memory were filtered out of this ELF dump and read as "
            "zeros; a zero from it may be a page that was not saved"
        )
    if not dump.notes.cpus:
        yield "the dump has no CPU registers (no NT_PRSTATUS note)"


def _kdump_target(source: Source, flat: flattened.FlattenedSource | None) -> Target:
    header = kdump.read_header(source)
    table = _page_table(source, header, flat)
    end = max(header.vmcoreinfo.end, header.notes.end, header.erase_info.end, table.end)
    missing = _missing(max(0, end - source.size) if table.end else 0, flat)
    notes = read_notes(source.read(header.notes.offset, min(header.notes.size, MAX_BYTES)))
    unfinished = bool(header.status & kdump.INCOMPLETE)
    truncated = missing > 0 or table.lost > 0 or unfinished or _is_cut(flat)
    raw = _vmcoreinfo_bytes(source, header) or notes.vmcoreinfo
    if not header.has_utsname:
        _refuse_without_utsname(source, header, notes)
        whole = _completed(source, flat, raw, truncated=truncated)
        return replace(
            whole,
            truncated=truncated,
            missing_bytes=missing,
            warnings=(*whole.warnings, *_kdump_warnings(header, table, None, truncated, missing)),
        )
    info = _vmcoreinfo(
        source,
        raw,
        truncated,
        "has no VMCOREINFO: write it with makedumpfile 1.4 "
        "or newer, from a kernel with CONFIG_KEXEC or CONFIG_VMCORE_INFO",
    )
    return Target(
        path=source.name,
        format="kdump-split" if header.split else "kdump-flattened" if flat else "kdump",
        compression=_compression(header, table),
        arch=machines.X86_64,
        release=info.release,
        build_id=info.build_id,
        crash_time=info.crash_time or header.timestamp,
        dump_level=header.dump_level,
        truncated=truncated,
        missing_bytes=missing,
        vmcoreinfo=info,
        nodename=header.nodename or None,
        version=header.version or None,
        machine=header.machine or None,
        cpus=notes.cpus or None,
        registers=notes.registers,
        warnings=(*info.warnings, *_kdump_warnings(header, table, info, truncated, missing)),
    )


def _page_table(
    source: Source, header: kdump.KdumpHeader, flat: flattened.FlattenedSource | None
) -> pages.PageTable:
    if flat is not None and not flat.walked:
        # Where the descriptors are is not known without reading the whole of a huge file.
        return pages.PageTable(count=0, lost=0, compressions=frozenset(), end=0)
    return pages.read_page_table(source, header)


def _compression(header: kdump.KdumpHeader, table: pages.PageTable) -> str:
    seen = table.compressions
    if not seen and (table.count == 0 or table.lost):
        # No page to look at: what the writer set out to do.
        seen = frozenset(n for bit, n in kdump.COMPRESSIONS.items() if header.status & bit)
    return next(iter(seen), "none") if len(seen) < 2 else "mixed"


def _refuse_without_utsname(source: Source, header: kdump.KdumpHeader, notes: Notes) -> None:
    # A QEMU ELF dump converted by makedumpfile has QEMU's notes too, and a utsname.
    if not (notes.from_qemu and header.machine and not header.sysname):
        raise TargetError(
            f"{source.name} has a kdump header without the system's name and architecture, so "
            "drgn cannot read it; write the dump again with makedumpfile"
        )


def _completed(
    source: Source, flat: flattened.FlattenedSource | None, raw: bytes | None, *, truncated: bool
) -> Target:
    # Imported here: QEMU's own kdump files are rare.
    from crashkit.target.qemu_kdump import completed_copy

    file = source if flat is None else flat.file
    if not isinstance(file, FileSource):  # pragma: no cover - there are two kinds of source
        raise TypeError(file)
    descriptor, found = completed_copy(file, source, vmcoreinfo=raw, truncated=truncated)
    try:
        whole = identify_source(FileSource(descriptor, source.name))
    except BaseException:
        os.close(descriptor)
        raise
    notes = ["the header that QEMU wrote is completed from VMCOREINFO, in a temporary copy"]
    if raw is None:
        notes.append("VMCOREINFO was found in memory; the dump has no note of it")
    return replace(
        whole,
        file=f"/proc/self/fd/{descriptor}",
        version=None,
        found_vmcoreinfo=None if raw else found,
        warnings=(*notes, *whole.warnings),
    )


def _vmcoreinfo_bytes(source: Source, header: kdump.KdumpHeader) -> bytes | None:
    extent = header.vmcoreinfo
    if not extent.size:
        return None
    raw = source.read(extent.offset, min(extent.size, MAX_VMCOREINFO + 1))
    return raw if len(raw) == min(extent.size, MAX_VMCOREINFO + 1) else None


def _vmcoreinfo(source: Source, raw: bytes | None, truncated: bool, absent: str) -> VmcoreInfo:
    if raw is not None:
        return parse(raw)
    if truncated:
        raise TargetError(
            f"{source.name} is truncated before its VMCOREINFO, so nothing can be read from it; "
            "copy the dump again"
        )
    raise TargetError(f"{source.name} {absent}")


def _kdump_warnings(
    header: kdump.KdumpHeader,
    table: pages.PageTable,
    info: VmcoreInfo | None,
    truncated: bool,
    missing: int,
) -> Iterator[str]:
    if truncated:
        yield _truncation_warning(missing)
    full = "the disk was full when it was written" if header.status & kdump.INCOMPLETE else ""
    if table.lost:
        yield f"{table.lost} of {table.count} pages are lost{'; ' if full else ''}{full}"
    elif full:
        yield f"{full}: makedumpfile marked it as incomplete"
    if info and header.release and info.release and header.release != info.release:
        yield (
            f"the kdump header says kernel {header.release}, VMCOREINFO says {info.release}; "
            "VMCOREINFO is used"
        )


def _truncation_warning(missing: int) -> str:
    if missing:
        return f"the dump is truncated: at least {missing} bytes are missing at its end"
    return "the dump was never finished: part of it is missing"


def _missing(in_dump: int, flat: flattened.FlattenedSource | None) -> int:
    if flat is None:
        return in_dump
    # A flattened file is complete when its end marker is there; a dump whose last bytes
    # were never written to it is then as its writer meant it.
    return max(in_dump, flat.missing, 1) if not flat.complete else in_dump


def _is_cut(flat: flattened.FlattenedSource | None) -> bool:
    return flat is not None and not flat.complete


def _if_cut(flat: flattened.FlattenedSource) -> str:
    return "" if flat.complete else " (it is cut)"
