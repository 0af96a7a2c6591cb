# ruff: noqa: E501 - a line of source is replaced as it is
"""The mutants: one rule each, dropped by replacing one piece of text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A rule, and the change that drops it."""

    name: str
    path: str
    before: str
    """Text that is in the file exactly once."""
    after: str


_ANALYSIS = "crashkit/dataflow/analysis.py"
_TRANSFER = "crashkit/dataflow/transfer.py"
_STATE = "crashkit/dataflow/state.py"
_OPERANDS = "crashkit/dataflow/operands.py"
_TERMS = "crashkit/dataflow/terms.py"
_EFFECTS = "crashkit/disasm/effects.py"
_RECOGNISE = "crashkit/disasm/recognise.py"
_WALK = "crashkit/unwind/walk.py"

MUTANTS = (
    Mutant("loop staleness: a new execution forgets the old one's terms", _TRANSFER,
           "            state.forget_execution(address)", "            pass"),
    Mutant("staleness of slots", _STATE, "            del self.slots[place]\n\n    def join",
           "            pass\n\n    def join"),
    Mutant("a name of an earlier entry of a block does not survive its join", _STATE,
           "(type(mine) in NAMELESS or not names_block(theirs, at))", "True"),
    Mutant("nor does one in a slot", _STATE,
           "            elif slot.term != theirs.term or names_block(theirs.term, at):",
           "            elif slot.term != theirs.term:"),
    Mutant("join: registers that differ", _STATE, "            if merged != mine:",
           "            if False:"),
    Mutant("join: slots that differ", _STATE, "                if merged != slot.term:",
           "                if False:"),
    Mutant("join: slots that only one path has", _STATE,
           "if theirs is None or (theirs.size, theirs.saved) != (slot.size, slot.saved):",
           "if theirs is not None and (theirs.size, theirs.saved) != (slot.size, slot.saved):"),
    Mutant("join: slots of another size", _STATE,
           "(theirs.size, theirs.saved) != (slot.size, slot.saved):",
           "theirs.saved != slot.saved:"),
    Mutant("join: the distance of places that are merged", _STATE,
           "key = (base, other, distance - other_distance)", "key = (base, other)"),
    Mutant("join: an address lost in one is known outside", _STATE,
           "        if any(isinstance(term, FrameAddress) for term in terms):",
           "        if not terms:"),
    Mutant("exception edges", _ANALYSIS,
           "for handler in self._exception_edges.get(address, ()):",
           "for handler in ():"),
    Mutant("exception edges: what the instruction writes is not known", _ANALYSIS,
           "for name in instruction.writes - {\"rsp\"}:", "for name in ():"),
    Mutant("exception edges: nor the memory it writes", _ANALYSIS,
           "    if instruction.writes_memory:\n        after.drop_unsaved()",
           "    if False:\n        after.drop_unsaved()"),
    Mutant("blocks that nothing is known to reach", _ANALYSIS,
           "                self._propagate(address, self._starts[address])",
           "                pass"),
    Mutant("code behind fillers", _ANALYSIS, "            address = instruction.end\n"
           "            if address in self._leaders:\n                break",
           "            return None\n            if address in self._leaders:\n                break"),
    Mutant("branches also fall through", _ANALYSIS,
           "_FALLS_THROUGH = (Flow.NEXT, Flow.BRANCH, Flow.CALL)",
           "_FALLS_THROUGH = (Flow.NEXT, Flow.CALL)"),
    Mutant("an int3 hides an instruction", _ANALYSIS,
           'if instruction.operation in ("int3", "(bad)"):', 'if instruction.operation == "?":'),
    Mutant("an unresolved jump", _ANALYSIS,
           "self.complete = self.complete and self._is_tail_call(instruction, state)", "pass"),
    Mutant("a tail call has no frame", _ANALYSIS,
           '        if state.register("rsp") != FrameAddress(-8):\n            return False\n',
           ""),
    Mutant("a pointer out of a table is no tail call", _ANALYSIS, "            return not from_table",
           "            return True"),
    Mutant("a jump into an instruction", _ANALYSIS,
           "self.complete = self.complete and instruction.end <= target", "pass"),
    Mutant("a call takes the caller-saved registers", _TRANSFER,
           "            state.set_register(name, UNKNOWN)\n        state.set_register(\"rax\"",
           "            pass\n        state.set_register(\"rax\""),
    Mutant("a callee changes what is below rsp", _TRANSFER,
           "            state.drop_below(stack.offset)", "            pass"),
    Mutant("escape kill: a call", _TRANSFER,
           "        state.drop_escaped()\n        stack =", "        stack ="),
    Mutant("escape: an address in a register of a call", _TRANSFER,
           "        for name in CALLER_SAVED:\n            escape_value(state, state.register(name))\n",
           ""),
    Mutant("escape: a stored address", _OPERANDS,
           "        escape_value(state, term)\n        if memory.segment is not None:",
           "        if memory.segment is not None:"),
    Mutant("escape: an address something unknown is done to", _TRANSFER,
           "            for name in self._value_reads(instruction):", "            for name in ():"),
    Mutant("escape: an address added to in lea", _TRANSFER,
           "            for name in source.registers:", "            for name in ():"),
    Mutant("escape: one of two addresses (cmov)", _TRANSFER,
           "            escape_value(state, taken)\n            escape_value(state, kept)\n", ""),
    Mutant("cmov may not move", _TRANSFER, "        if taken != kept:", "        if False:"),
    Mutant("a store through an unknown pointer (mov)", _OPERANDS,
           "            # What a caller passed and global objects lie outside of this frame.\n"
           "            state.drop_escaped()", "            pass"),
    Mutant("a store to an unknown place of the frame (mov)", _OPERANDS,
           "        elif place.in_frame:\n            state.drop_unsaved()",
           "        elif place.in_frame:\n            pass"),
    Mutant("a frame address as index", _OPERANDS,
           " or isinstance(index, FrameAddress)", ""),
    Mutant("stores overlap", _STATE,
           "            if place >= end or place + old.size <= offset", "            if place != offset"),
    Mutant("a slot smaller than what is read", _STATE,
           "if slot is None or slot.size < size:", "if slot is None:"),
    Mutant("no red zone: rsp moves up", _STATE,
           "        self.drop_below(term.offset)", "        pass"),
    Mutant("an unknown rsp", _STATE,
           "            self.drop_unsaved()\n            self.escaped = True\n            return",
           "            return"),
    Mutant("a save is a push or is restored", _OPERANDS,
           "        return (term.register, memory.base, memory.displacement) in self.restores",
           "        return True"),
    Mutant("a save is of the caller's value", _OPERANDS,
           "        if not isinstance(term, Entry) or term.register not in CALLEE_SAVED:\n"
           "            return False\n", ""),
    Mutant("writes of one and two bytes", _OPERANDS, "if size >= 4 else UNKNOWN",
           "if size >= 4 else term"),
    Mutant("high bytes are not low ones", _OPERANDS,
           "if operand.full is None or operand.is_high_byte:", "if operand.full is None:"),
    Mutant("four-byte writes clear the rest", _TERMS, "    if size >= 8:\n        return term\n    if isinstance(term, Const)",
           "    if size >= 4:\n        return term\n    if isinstance(term, Const)"),
    Mutant("rep: how much is written is not known", _TRANSFER,
           "            and not instruction.repeats\n", ""),
    Mutant("bit strings reach beyond their operand", _TRANSFER,
           "            and instruction.operation not in _BIT_STRINGS\n", ""),
    Mutant("an operation with no rule writes memory", _TRANSFER,
           '            if access.kind in ("write", "read-write"):', "            if False:"),
    Mutant("the accumulator of cmpxchg", _EFFECTS, '    "cmpxchg": ("rax", "rax"),',
           '    "cmpxchg": ("rax", ""),'),
    Mutant("the memory of cmpxchg", _EFFECTS, '    "cmpxchg": _BOTH,', '    "cmpxchg": _READ,'),
    Mutant("the memory of cmpxchg16b", _EFFECTS, '    "cmpxchg16b": _BOTH,',
           '    "cmpxchg16b": _READ,'),
    Mutant("rax and rdx of cmpxchg8b", _EFFECTS, '    "cmpxchg8b": ("rax rdx rbx rcx", _PAIR),',
           '    "cmpxchg8b": ("rax rdx rbx rcx", ""),'),
    Mutant("both operands of xchg and xadd", _EFFECTS,
           '_BOTH_ALL = frozenset({"xchg", "xadd"})', "_BOTH_ALL = frozenset[str]()"),
    Mutant("rep counts in rcx", _EFFECTS, '        writes.add("rcx")', "        pass"),
    Mutant("string operations move their pointers", _EFFECTS, '_STRING = "rsi rdi"', '_STRING = ""'),
    Mutant("stos writes rdi", _EFFECTS, '"stos": ("rax rdi", "rdi")', '"stos": ("rax rdi", "")'),
    Mutant("a push writes memory", _EFFECTS, 'if operation in ("push", "call", "pushfq"):',
           'if operation in ("call",):'),
    Mutant("thunks: an indirect jump", _RECOGNISE, "    thunk = _INDIRECT.match(name)",
           "    thunk = None"),
    Mutant("thunks: a return", _RECOGNISE, "    if _RETURN.match(name):", "    if False:"),
    Mutant("the ud2 of a warning goes on", _RECOGNISE,
           "            result.append(dataclasses.replace(instruction, flow=Flow.NEXT))",
           "            result.append(instruction)"),
    Mutant("unwind: only what is found saved is given on", _WALK,
           "    if symbol is None or recover is None:\n        return {}",
           "    if symbol is None or recover is None:\n        return dict(context.registers)"),
    Mutant("unwind: a partial exception frame has few registers", _WALK,
           '        wanted = {name: wanted[name] for name in ("rip", "cs", "rflags", "rsp", "ss")}',
           "        pass"),
    Mutant("unwind: a cyclic stack ends", _WALK,
           "if (context.pc, context.sp) in seen:", "if False:"),
    Mutant("unwind: a return address is looked up one byte before", _WALK,
           "symbol = symbol_at(prog, context.pc if context.interrupted else context.pc - 1)",
           "symbol = symbol_at(prog, context.pc)"),
)  # fmt: skip
"""In the order of the table."""
