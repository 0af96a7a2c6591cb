"""Which variables a made vmlinux describes: per-CPU ones, and globals that somebody asks for."""

from __future__ import annotations

from collections.abc import Mapping

from drgn import Program, Type, TypeKind, sizeof

from crashkit.errors import Unavailable
from crashkit.memory import BROKEN_WALK, read_bytes
from crashkit.symbols.btf import Blob, Kind
from crashkit.symbols.dwarf_variables import Variables
from crashkit.symbols.dwarf_writer import DwarfWriter
from crashkit.symbols.elf_writer import FUNC, ElfSymbol
from crashkit.symbols.globals_table import GLOBALS, PER_CPU

# What crash asks gdb for by name, beyond the globals that crashkit uses. Declared in softirq.c,
# resource.c, vmcore_info.c, printk.c and sched/core.c of kernel, in version.c of init, in
# dmi_scan.c of drivers/firmware, and in idt.c, tsc.c and syscall_64.c of arch/x86.
_FOR_CRASH = {
    "cpu_khz": "unsigned int",
    "dmi_ident": "const char * []",
    "idt_table": "gate_desc []",
    "iomem_resource": "struct resource",
    "ioport_resource": "struct resource",
    "linux_banner": "const char []",
    "log_buf": "char *",
    "root_task_group": "struct task_group",
    "softirq_vec": "struct softirq_action []",
    "sys_call_table": "const sys_call_ptr_t []",
    "vmcoreinfo_data": "unsigned char *",
}
# Arrays by the enumerator that is their length.
_LENGTHS = {
    "node_states": "NR_NODE_STATES",
    "softirq_vec": "NR_SOFTIRQS",
    "vm_node_stat": "NR_VM_NODE_STAT_ITEMS",
    "vm_numa_event": "NR_VM_NUMA_EVENT_ITEMS",
    "vm_zone_stat": "NR_VM_ZONE_STAT_ITEMS",
}
# Tables of constants: as long as up to the last element that is not all zero, for what
# kallsyms takes for a symbol's size has padding in it.
_CONSTANT = frozenset(
    {
        "dmi_ident", "gfpflag_names", "linux_banner", "pageflag_names", "taint_flags",
        "task_state_array",
    }
)  # fmt: skip
_MAX_TABLE = 1 << 16
_SECOND = 1_000_000_000
_SCHEDULERS = ("dd_init_sched", "dd_init_queue", "deadline_init_queue")


def write_globals(
    prog: Program, blob: Blob, writer: DwarfWriter, symbols: Mapping[str, ElfSymbol]
) -> int:
    """Write variables.

    :param symbols: those whose name is theirs alone, at their addresses in the file
    :returns: how many were written
    """
    variables = Variables(blob, writer)
    written = _per_cpu(blob, variables, symbols)
    for name in sorted((GLOBALS | PER_CPU | _FOR_CRASH).keys() - written & symbols.keys()):
        symbol = symbols[name]
        type_ = None if symbol.kind == FUNC else _type(prog, name)
        if type_ is not None and variables.write_typed(name, symbol.address, type_):
            written.add(name)
    _write_hz(prog, blob, variables, symbols)
    return len(written)


def _per_cpu(blob: Blob, variables: Variables, symbols: Mapping[str, ElfSymbol]) -> set[str]:
    written = set()
    for type_id in blob.ids_of_kind(Kind.VAR):
        record = blob.record(type_id)
        symbol = symbols.get(blob.string(record.name_offset))
        if symbol is not None and record.size_or_type:
            variables.write(record.name_offset, symbol.address, record.size_or_type)
            written.add(symbol.name)
    return written


def _type(prog: Program, name: str) -> Type | None:
    # None where the tables' types are not those of this kernel.
    try:
        asked = _FOR_CRASH.get(name)
        made = prog.type(asked) if asked else prog.variable(name).type_
        if made.kind is not TypeKind.ARRAY:
            return made
        if name in _LENGTHS:
            return prog.array_type(made.type, int(prog.constant(_LENGTHS[name])))
        return _shortened(prog, name, made) if name in _CONSTANT else made
    except BROKEN_WALK:
        return None


def _shortened(prog: Program, name: str, made: Type) -> Type:
    # Without the zeros at its end.
    symbol = prog.symbol(name)
    step = sizeof(made.type)
    try:
        raw = read_bytes(prog, symbol.address, min(symbol.size, _MAX_TABLE))
    except Unavailable:
        return prog.array_type(made.type)
    return prog.array_type(made.type, -(-len(raw.rstrip(b"\0")) // step))


def _write_hz(
    prog: Program, blob: Blob, variables: Variables, symbols: Mapping[str, ElfSymbol]
) -> None:
    # Without CONFIG_IKCONFIG crash takes HZ from write_expire, which is 5 * HZ in
    # block/mq-deadline.c (deadline-iosched.c) and, a constant, not in kallsyms. HZ is what
    # TICK_NSEC of include/linux/jiffies.h was made from.
    integer = next(iter(blob.ids_named("int")), None)
    if integer is None or not any(name in symbols for name in _SCHEDULERS):
        return
    try:
        nanoseconds = int(prog["tick_nsec"])
    except BROKEN_WALK:
        return
    if 0 < nanoseconds <= _SECOND:
        variables.write_constant("write_expire", 5 * round(_SECOND / nanoseconds), integer)
