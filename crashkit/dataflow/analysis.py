"""Forward analysis of one function: basic blocks, joins, and the state at each address.

Sound for any code it is given: a block that no known edge reaches (an exception fixup,
a jump table's target) is analysed with nothing known, and what it reaches loses what it
knew. What cannot be made sound is reported by :attr:`Dataflow.complete`.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import partial

from crashkit.dataflow.extents import EVERYTHING, NOTHING, Extents
from crashkit.dataflow.leaving import interrupted, is_tail_call
from crashkit.dataflow.liveness import Liveness
from crashkit.dataflow.operands import FindVariables, restores_of
from crashkit.dataflow.reach import FALLS_THROUGH, reached_from
from crashkit.dataflow.stack_pointer import body_stack_pointer
from crashkit.dataflow.state import Slot, State
from crashkit.dataflow.terms import Term
from crashkit.dataflow.transfer import Pointee, Transfer
from crashkit.disasm import (
    LONGEST_INSTRUCTION,
    Flow,
    Instruction,
    MemoryOperand,
)
from crashkit.errors import Reason, Unavailable

_STRIDE = 32
_FILLERS = frozenset({"nop", "int3"})


class Dataflow:
    """States of one function's instructions; made by :func:`analyse`.

    :ivar instructions: the instructions by address
    :ivar entry: address of the function's first instruction
    :ivar complete: every jump's target is known. Otherwise (a jump table, an ``int3``
        put over an instruction, undecodable bytes, code that is not in the dump) a join
        may have been missed, and whatever is read from a state is weaker than proved
    :ivar outside: targets of direct jumps that leave the given instructions
    :ivar from_file: some of the code is not in the dump and was taken from the debug file
    """

    def __init__(
        self,
        instructions: Sequence[Instruction],
        exception_edges: Mapping[int, Sequence[int]],
        edges_known: bool = False,
        find_variables: FindVariables | None = None,
        pointee: Pointee | None = None,
        entry: int | None = None,
        gaps: bool = False,
        shows_saves: bool = False,
        incoming: int = 0,
        handlers: Mapping[int, frozenset[str]] | None = None,
    ) -> None:
        self.instructions = {instruction.address: instruction for instruction in instructions}
        self.entry = instructions[0].address if entry is None else entry
        self.complete = not gaps
        self.from_file = False
        self.outside: frozenset[int] = frozenset()
        self._order = sorted(self.instructions)
        self.by_end = {instruction.end: instruction for instruction in instructions}
        self.exception_edges = exception_edges
        self.handlers = handlers or {}
        transfer = Transfer(
            restores=frozenset() if shows_saves else restores_of(instructions),
            find_variables=find_variables,
            stack_pointer=partial(
                body_stack_pointer, self.instructions, self.entry, exception_edges
            ),
            pointee=pointee,
        )
        self._transfer = self._refined(transfer)
        self._liveness: Liveness | None = None
        self._before: dict[int, State] = {}
        self._on_the_way: dict[int, list[tuple[int, State]]] = {}
        self._is_final = False
        self._reached: dict[int, frozenset[int]] = {}
        self.leaders = self._find_leaders()
        self.starts: dict[int, State] = {}
        self._has_loop = False
        self._seeding = False
        self.settled: frozenset[int] = frozenset()
        if self.entry in self.instructions:
            self.starts[self.entry] = self._at_entry(incoming)
            self._propagate(self.entry, self.starts[self.entry])
        if gaps:
            self._start_after_gaps()
        if edges_known and self.complete:
            # What is left never runs (patched alternatives); it must not spoil the rest.
            self.settled = frozenset(self._before)
        self._seed_the_rest()
        if self._has_loop:
            self._sharpen()
        self._is_final = True

    # Queries

    def state_before(self, address: int) -> State:
        """State before the instruction at ``address``; a copy.

        :raises Unavailable: no instruction of the function starts there
        """
        instruction = self.instructions.get(address)
        if instruction is None:
            raise Unavailable(
                f"state before {address:#x}",
                Reason.NOT_APPLICABLE,
                "no instruction of this function starts there",
            )
        leader = self.leader_of(address)
        if leader not in self._before:
            return State.unknown()
        at, state = self._nearest_before(leader, address)
        steps = 0
        while at != address:
            self._transfer.apply(state, self.instructions[at])
            at = self.instructions[at].end
            steps += 1
            if steps % _STRIDE == 0 and self._is_final:
                self._on_the_way.setdefault(leader, []).append((at, state.copy()))
        return state

    def _nearest_before(self, leader: int, address: int) -> tuple[int, State]:
        # A block of thousands of instructions is not run from its start for each of them.
        marks = self._on_the_way.get(leader, [])
        place = bisect_right(marks, address, key=lambda mark: mark[0])
        at, state = marks[place - 1] if place else (leader, self._before[leader])
        return at, state.copy()

    def state_after(self, address: int) -> State:
        """State after the instruction at ``address`` has run; a copy."""
        state = self.state_before(address)
        self._transfer.apply(state, self.instructions[address])
        return state

    def call_before(self, return_address: int) -> Instruction | None:
        """The call that returns to ``return_address``; None if none of this function does."""
        instruction = self.by_end.get(return_address)
        return instruction if instruction and instruction.operation == "call" else None

    def covers(self, address: int) -> bool:
        """Whether an instruction that is known has a byte at ``address``."""
        starts = range(address, address - LONGEST_INSTRUCTION, -1)
        known = (self.instructions.get(start) for start in starts)
        return any(instruction.end > address for instruction in known if instruction)

    def state_during(self, call: Instruction) -> State:
        """State while the function called by ``call`` runs, without what it may change."""
        state = self.state_before(call.address)
        self._transfer.apply_call(state, call)
        return state

    def is_own(self, offset: int, slot: Slot, call: Instruction | None) -> bool:
        """Whether a slot is the function's own while ``call`` is under way.

        One that it never reads again may be an argument for the callee, who may change it.
        Its own arguments lie beyond what it can pass.
        """
        if offset >= 0:
            return True
        readers = self._transfer.loaded_slots.get(offset) or None
        if slot.saved or readers is None or call is None:
            return slot.saved or readers is not None
        return not readers.isdisjoint(self._reached_from(call.end))

    def _reached_from(self, start: int) -> frozenset[int]:
        # Addresses of the instructions that can run after the one before ``start``.
        if start not in self._reached:
            self._reached[start] = reached_from(self.instructions, self.exception_edges, start)
        return self._reached[start]

    def place_of(self, instruction: Instruction, memory: MemoryOperand) -> tuple[Term, int]:
        """Term and distance a memory operand points at, its segment base apart."""
        place = self._transfer.place(self.state_before(instruction.address), instruction, memory)
        return place.base, place.offset

    # Construction

    def _refined(self, transfer: Transfer) -> Transfer:
        return transfer

    def _at_entry(self, incoming: int) -> State:
        return State.at_entry(incoming)

    def _find_leaders(self) -> frozenset[int]:
        leaders = {self.entry}
        outside = set()
        for address in self._order:
            instruction = self.instructions[address]
            if instruction.flow is not Flow.NEXT:
                leaders.add(instruction.end)
            target = instruction.target
            if target is not None and instruction.flow in (Flow.JUMP, Flow.BRANCH):
                if target in self.instructions:
                    leaders.add(target)
                else:
                    outside.add(target)
                    self._check_boundary(target)
            if address in self.exception_edges:
                leaders.update((instruction.end, *self.exception_edges[address]))
        leaders.update(self._after_gaps())
        self.outside = frozenset(outside)
        return frozenset(leader for leader in leaders if leader in self.instructions)

    def _after_gaps(self) -> list[int]:
        return [address for address in self._order if address not in self.by_end]

    def _check_boundary(self, target: int) -> None:
        # A jump into the middle of an instruction: the listing is not the code that ran.
        for start in range(target - 1, target - 15, -1):
            instruction = self.instructions.get(start)
            if instruction is not None:
                self.complete = self.complete and instruction.end <= target
                return

    def leader_of(self, address: int) -> int:
        """Address of the first instruction of the block with the one at ``address``."""
        while address not in self.leaders:
            address = self.by_end[address].address
        return address

    def _propagate(self, start: int, state: State) -> None:
        # By address, which is nearly the order of execution: few blocks are run twice.
        work = [start] if self._join(start, state) else []
        waiting = set(work)
        run: set[int] = set()
        while work:
            leader = heapq.heappop(work)
            waiting.discard(leader)
            self._has_loop = self._has_loop or leader in run
            run.add(leader)
            for changed in self._run_block(leader, self._before[leader].copy()):
                if changed not in waiting:
                    waiting.add(changed)
                    heapq.heappush(work, changed)

    def _sharpen(self) -> None:
        # Joins remember what held only in a loop's first round. One more pass from the
        # states found, which hold for every execution, gives states that do as well.
        found, self._before = self._before, {}
        for leader, state in self.starts.items():
            self._join(leader, state)
        for leader, state in found.items():
            self._seeding = leader not in self.settled
            self._run_block(leader, state)

    def _join(self, leader: int, state: State) -> bool:
        known = self._before.get(leader)
        if known is None:
            known = self._before[leader] = state.copy()
            known.join(state, leader)  # names that mean an earlier entry of this block
            return True
        return known.join(state, leader, self._lost)

    def _lost(self, leader: int, register: str, offset: int) -> Extents:
        # Where an address may lead that a register had on one way into a block.
        if self._transfer.variables is None:
            return EVERYTHING
        if self._liveness is None:
            self._liveness = Liveness(self.instructions, self.leaders, self.exception_edges)
        if self._liveness.is_used(leader, register):
            return EVERYTHING
        if self._liveness.is_passed(leader, register):
            return self._transfer.reached_from(offset)
        return NOTHING

    def _run_block(self, leader: int, state: State) -> list[int]:
        # Changes the state; returns the leaders whose own state changed by it.
        changed: list[int] = []
        address = leader
        while True:
            instruction = self.instructions[address]
            for handler in self.exception_edges.get(address, ()):
                changed.extend(
                    self._flow_to(
                        handler, interrupted(state, instruction, self.handlers.get(address))
                    )
                )
            self._transfer.apply(state, instruction)
            if self._runs_on(instruction):
                address = instruction.end
                continue
            for successor in self._successors(instruction, state):
                changed.extend(self._flow_to(successor, state))
            return changed

    def _runs_on(self, instruction: Instruction) -> bool:
        following = instruction.end
        return (
            instruction.flow is Flow.NEXT
            and following in self.instructions
            and following not in self.leaders
        )

    def _flow_to(self, leader: int, state: State) -> list[int]:
        if leader not in self.leaders or (leader in self.settled and self._seeding):
            return []
        return [leader] if self._join(leader, state) else []

    def _successors(self, instruction: Instruction, state: State) -> list[int]:
        self._judge(instruction, state)
        result = []
        if instruction.flow in FALLS_THROUGH:
            result.append(instruction.end)
        if instruction.flow in (Flow.JUMP, Flow.BRANCH) and instruction.target is not None:
            result.append(instruction.target)
        return [address for address in result if address in self.instructions]

    def _judge(self, instruction: Instruction, state: State) -> None:
        # Ends of blocks whose successors may not all be known.
        if instruction.operation in ("int3", "(bad)"):
            self.complete = False
        elif instruction.flow is Flow.JUMP and instruction.target is None:
            self.complete = self.complete and is_tail_call(instruction, state)
        elif instruction.flow is Flow.CALL and instruction.target in self.instructions:
            self.complete = self.complete and instruction.target == self.entry

    def _seed_the_rest(self) -> None:
        # Blocks that no known edge reaches: fillers never run, any other code may.
        for address in self._order:
            if address not in self.leaders or address in self._before:
                continue
            start = self._after_fillers(address)
            if start is not None and start not in self._before:
                self.starts[address] = State.unknown()
                self._seeding = True
                self._propagate(address, self.starts[address])
                self._seeding = False

    def _start_after_gaps(self) -> None:
        # Whatever ran before, a register that is copied there is the same as its copy.
        for address in self._after_gaps():
            if address != self.entry:
                state = self.starts[address] = State.entered_at(address)
                self._propagate(address, state)

    def _after_fillers(self, address: int) -> int | None:
        # The first instruction of a block that is none; None in a block of fillers only.
        while address in self.instructions:
            instruction = self.instructions[address]
            if instruction.operation not in _FILLERS:
                return address
            address = instruction.end
            if address in self.leaders:
                break  # another block, which is looked at by itself
        return None


def analyse(
    instructions: Sequence[Instruction],
    *,
    exception_edges: Mapping[int, Sequence[int]] | None = None,
    edges_known: bool = False,
    find_variables: FindVariables | None = None,
    pointee: Pointee | None = None,
    entry: int | None = None,
    gaps: bool = False,
    shows_saves: bool = False,
    incoming: int = 0,
    handlers: Mapping[int, frozenset[str]] | None = None,
) -> Dataflow:
    """Analyse a function.

    :param instructions: the function's instructions, its entry first; parts that lie
        elsewhere (``.cold``) may follow
    :param exception_edges: addresses that execution may go to when the instruction at
        the key faults (``__ex_table``), or as a static key is set (``__jump_table``)
    :param edges_known: these are all: code that nothing leads to never runs
    :param find_variables: lists what it keeps in its frame, all that has a name; asked
        once, and only if an address of the frame becomes known elsewhere
    :param pointee: tells how large a callee declares what its argument points at
    :param entry: where it is entered, if its first instruction may be missing
    :param gaps: instructions are missing. What is known then follows from those given
        alone, and an instruction behind a gap may be no instruction at all
    :param shows_saves: what is stored of callee-saved registers may be changed through a
        pointer that is passed on, as a ``struct pt_regs`` may
    :param incoming: bytes of arguments that it takes on the stack
    :param handlers: registers that are changed before execution goes on after a fault there
    :raises Unavailable: there are no instructions
    """
    if not instructions:
        raise Unavailable("dataflow", Reason.NOT_APPLICABLE, "no instructions")
    edges = exception_edges or {}
    return Dataflow(
        instructions, edges, edges_known, find_variables, pointee, entry, gaps, shows_saves,
        incoming, handlers,
    )  # fmt: skip
