"""Micro-functions with known answers, and a program that holds code, types and memory.

The bytes are GNU as's for the source beside them; ``test_bytes_are_of_their_source``
assembles them again where ``as`` is at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from drgn import Object, TypeParameter

from crashkit.disasm import Instruction, disassemble
from crashkit.unwind import Frame, RegisterValue
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import Kernel

BASE = 0xFFFF_FFFF_8100_0000


@dataclass(frozen=True)
class Snippet:
    """Assembly source and its machine code."""

    source: str
    code: bytes

    def listing(self, **options: object) -> list[Instruction]:
        return disassemble(self.code, BASE, **options)  # type: ignore[arg-type]

    def at(self, text: str, occurrence: int = 0) -> int:
        """Address of the instruction with this text."""
        return [i.address for i in self.listing() if i.text == text][occurrence]


# nf_ct_deliver_cached_events of el7, as the article prints it
EL7_DELIVER = Snippet(
    source="""\
.byte 0x0f,0x1f,0x44,0x00,0x00
push %rbp
mov %rsp,%rbp
push %r14
push %r13
push %r12
push %rbx
mov %rdi,%rbx
sub $0x20,%rsp
mov %gs:0x28,%rax
mov %rax,-0x28(%rbp)
xor %eax,%eax
mov 0xf0(%rdi),%rax
mov 0xa30(%rax),%rdx
test %rdx,%rdx
ret
""",
    code=bytes.fromhex(
        "0f 1f 44 00 00 55 48 89 e5 41 56 41 55 41 54 53 48 89 fb 48 "
        "83 ec 20 65 48 8b 04 25 28 00 00 00 48 89 45 d8 31 c0 48 8b "
        "87 f0 00 00 00 48 8b 90 30 0a 00 00 48 85 d2 c3 "
    ),
)

# __nf_conntrack_eventmask_report's way to the callback
EVENTMASK = Snippet(
    source="""\
.byte 0x0f,0x1f,0x44,0x00,0x00
push %r15
push %rbp
push %rbx
mov (%rcx),%rax
mov 0x88(%rax),%r15
mov %rcx,%rbp
mov %rdi,%rbx
mov 0xb38(%r15),%rax
ret
""",
    code=bytes.fromhex(
        "0f 1f 44 00 00 41 57 55 53 48 8b 01 4c 8b b8 88 00 00 00 48 "
        "89 cd 48 89 fb 49 8b 87 38 0b 00 00 c3 "
    ),
)

# both paths put the same value into rax
JOIN_EQUAL = Snippet(
    source="""\
test %esi,%esi
je 1f
mov %rdi,%rax
jmp 2f
1: lea 0x0(%rdi),%rax
2: mov (%rax),%rcx
ret
""",
    code=bytes.fromhex("85 f6 74 05 48 89 f8 eb 03 48 8d 07 48 8b 08 c3 "),
)

# the paths put different values into rax
JOIN_DIFFERENT = Snippet(
    source="""\
test %edx,%edx
je 1f
mov %rdi,%rax
jmp 2f
1: mov %rsi,%rax
2: mov (%rax),%rcx
ret
""",
    code=bytes.fromhex("85 d2 74 05 48 89 f8 eb 03 48 89 f0 48 8b 08 c3 "),
)

# a list walk: rax changes in the loop, rdi does not, rbx is the one before
LOOP = Snippet(
    source="""\
mov %rdi,%rax
1: mov %rax,%rbx
mov (%rax),%rax
cmp %rax,%rdi
jne 1b
mov 0x10(%rbx),%rcx
ret
""",
    code=bytes.fromhex("48 89 f8 48 89 c3 48 8b 00 48 39 c7 75 f5 48 8b 4b 10 c3 "),
)

# writes of 1, 2 and 4 bytes
PARTIAL = Snippet(
    source="""\
mov %rdi,%rax
mov $0x1,%al
mov %rdi,%rcx
mov %si,%cx
mov %edi,%edx
movslq %esi,%r8
movzbl %dil,%r9d
mov %rdi,%r10
xor %r10d,%r10d
mov $0xffffffff,%r11d
mov $-1,%rbx
ret
""",
    code=bytes.fromhex(
        "48 89 f8 b0 01 48 89 f9 66 89 f1 89 fa 4c 63 c6 44 0f b6 cf "
        "49 89 fa 45 31 d2 41 bb ff ff ff ff 48 c7 c3 ff ff ff ff c3 "
    ),
)

# cmpxchg on a stack slot writes the accumulator and the slot
CMPXCHG = Snippet(
    source="""\
sub $0x18,%rsp
mov %rdi,0x8(%rsp)
mov %rdi,%rax
mov %rdi,(%rsp)
lock cmpxchg %rsi,0x8(%rsp)
mov (%rsp),%rcx
mov 0x8(%rsp),%rdx
add $0x18,%rsp
ret
""",
    code=bytes.fromhex(
        "48 83 ec 18 48 89 7c 24 08 48 89 f8 48 89 3c 24 f0 48 0f b1 "
        "74 24 08 48 8b 0c 24 48 8b 54 24 08 48 83 c4 18 c3 "
    ),
)

# cmpxchg16b writes sixteen bytes, rax and rdx
CMPXCHG16B = Snippet(
    source="""\
sub $0x18,%rsp
mov %rdi,(%rsp)
mov %rdi,0x8(%rsp)
mov %rdi,0x10(%rsp)
mov %rdi,%rax
mov %rdi,%rdx
cmpxchg16b (%rsp)
mov 0x10(%rsp),%rbx
mov 0x8(%rsp),%rcx
add $0x18,%rsp
ret
""",
    code=bytes.fromhex(
        "48 83 ec 18 48 89 3c 24 48 89 7c 24 08 48 89 7c 24 10 48 89 "
        "f8 48 89 fa 48 0f c7 0c 24 48 8b 5c 24 10 48 8b 4c 24 08 48 "
        "83 c4 18 c3 "
    ),
)

# exchanges of registers and with a slot
XCHG = Snippet(
    source="""\
push %rsi
xchg %rdi,%rdx
xchg %rcx,(%rsp)
xchg %r8d,%r9d
pop %rax
ret
""",
    code=bytes.fromhex("56 48 87 fa 48 87 0c 24 45 87 c1 58 c3 "),
)

# a value goes through the stack; pop gives back what was pushed
SPILL = Snippet(
    source="""\
push %rbx
sub $0x10,%rsp
mov %rdi,0x8(%rsp)
xor %edi,%edi
mov 0x8(%rsp),%rbx
mov 0x8(%rsp),%eax
add $0x10,%rsp
mov %rbx,%rcx
pop %rbx
ret
""",
    code=bytes.fromhex(
        "53 48 83 ec 10 48 89 7c 24 08 31 ff 48 8b 5c 24 08 8b 44 24 08 48 83 c4 10 48 89 d9 5b c3 "
    ),
)

# a call: caller-saved registers go, slots and callee-saved stay
CALL = Snippet(
    source="""\
push %rbx
sub $0x10,%rsp
mov %rdi,0x8(%rsp)
mov %rsi,%rbx
call . + 0x1000
mov 0x8(%rsp),%rcx
mov (%rbx),%rdx
mov 0x20(%rax),%rsi
add $0x10,%rsp
pop %rbx
ret
""",
    code=bytes.fromhex(
        "53 48 83 ec 10 48 89 7c 24 08 48 89 f3 e8 fb 0f 00 00 48 8b "
        "4c 24 08 48 8b 13 48 8b 70 20 48 83 c4 10 5b c3 "
    ),
)

# the address of a local is passed: the callee may change locals, not saves
ESCAPE = Snippet(
    source="""\
push %rbx
sub $0x20,%rsp
mov %rdi,0x8(%rsp)
mov %rdi,%rbx
lea 0x10(%rsp),%rdi
call . + 0x1000
mov 0x8(%rsp),%rcx
mov (%rbx),%rdx
add $0x20,%rsp
pop %rbx
ret
""",
    code=bytes.fromhex(
        "53 48 83 ec 20 48 89 7c 24 08 48 89 fb 48 8d 7c 24 10 e8 fb "
        "0f 00 00 48 8b 4c 24 08 48 8b 13 48 83 c4 20 5b c3 "
    ),
)

# a frame address is stored: then a store through a loaded pointer may hit a slot
ESCAPE_STORE = Snippet(
    source="""\
sub $0x18,%rsp
mov %rsi,0x8(%rsp)
mov 0x10(%rdi),%rax
movq $0x1,(%rax)
mov 0x8(%rsp),%rcx
lea 0x8(%rsp),%rdx
mov %rdx,0x18(%rdi)
mov 0x8(%rsp),%rcx
movq $0x1,(%rax)
mov 0x8(%rsp),%rcx
add $0x18,%rsp
ret
""",
    code=bytes.fromhex(
        "48 83 ec 18 48 89 74 24 08 48 8b 47 10 48 c7 00 01 00 00 00 "
        "48 8b 4c 24 08 48 8d 54 24 08 48 89 57 18 48 8b 4c 24 08 48 "
        "c7 00 01 00 00 00 48 8b 4c 24 08 48 83 c4 18 c3 "
    ),
)

# a store to an unknown place of the frame
INDEXED_STORE = Snippet(
    source="""\
sub $0x28,%rsp
mov %rdi,0x20(%rsp)
movb $0x0,0x8(%rsp,%rsi,1)
mov 0x20(%rsp),%rax
add $0x28,%rsp
ret
""",
    code=bytes.fromhex("48 83 ec 28 48 89 7c 24 20 c6 44 34 08 00 48 8b 44 24 20 48 83 c4 28 c3 "),
)

# clears a part of the frame of unknown length
REP_STOS = Snippet(
    source="""\
push %rbx
sub $0x20,%rsp
mov %rsi,0x18(%rsp)
mov %rdi,%rbx
mov %rsp,%rdi
xor %eax,%eax
mov %edx,%ecx
rep stos %rax,%es:(%rdi)
mov 0x18(%rsp),%rax
add $0x20,%rsp
pop %rbx
ret
""",
    code=bytes.fromhex(
        "53 48 83 ec 20 48 89 74 24 18 48 89 fb 48 89 e7 31 c0 89 d1 "
        "f3 48 ab 48 8b 44 24 18 48 83 c4 20 5b c3 "
    ),
)

# the early exit saves nothing, the long way saves three
SHRINK_WRAPPED = Snippet(
    source="""\
test %rdi,%rdi
je 1f
push %r12
push %rbp
push %rbx
mov %rdi,%rbx
call . + 0x1000
pop %rbx
pop %rbp
pop %r12
1: ret
""",
    code=bytes.fromhex("48 85 ff 74 10 41 54 55 53 48 89 fb e8 fb 0f 00 00 5b 5d 41 5c c3 "),
)

# saves by mov below rsp, before rsp is lowered
OLD_SAVES = Snippet(
    source="""\
mov %rbx,-0x18(%rsp)
mov %rbp,-0x10(%rsp)
mov %r12,-0x8(%rsp)
sub $0x28,%rsp
mov %rdi,%rbx
lea 0x8(%rsp),%rdi
call . + 0x1000
mov 0x10(%rsp),%rbx
mov 0x18(%rsp),%rbp
mov 0x20(%rsp),%r12
add $0x28,%rsp
ret
""",
    code=bytes.fromhex(
        "48 89 5c 24 e8 48 89 6c 24 f0 4c 89 64 24 f8 48 83 ec 28 48 "
        "89 fb 48 8d 7c 24 08 e8 fb 0f 00 00 48 8b 5c 24 10 48 8b 6c "
        "24 18 4c 8b 64 24 20 48 83 c4 28 c3 "
    ),
)

# saves by mov relative to rbp, restored at the end
RBP_SAVES = Snippet(
    source="""\
push %rbp
mov %rsp,%rbp
sub $0x20,%rsp
mov %rbx,-0x10(%rbp)
mov %r12,-0x8(%rbp)
lea -0x20(%rbp),%rdi
call . + 0x1000
mov -0x10(%rbp),%rbx
mov -0x8(%rbp),%r12
leave
ret
""",
    code=bytes.fromhex(
        "55 48 89 e5 48 83 ec 20 48 89 5d f0 4c 89 65 f8 48 8d 7d e0 "
        "e8 fb 0f 00 00 48 8b 5d f0 4c 8b 65 f8 c9 c3 "
    ),
)

# skb->_nfct with the flags in its low bits taken off
MASKED = Snippet(
    source="""\
mov 0x68(%rdi),%rax
and $0xfffffffffffffff8,%rax
mov 0x80(%rax),%rdx
ret
""",
    code=bytes.fromhex("48 8b 47 68 48 83 e0 f8 48 8b 90 80 00 00 00 c3 "),
)

# a switch: where it goes is not known
JUMP_TABLE = Snippet(
    source="""\
cmp $0x3,%rdi
ja 1f
jmp *0x1000(,%rdi,8)
mov %rsi,%rdx
1: mov (%rdx),%rax
ret
""",
    code=bytes.fromhex("48 83 ff 03 77 0a ff 24 fd 00 10 00 00 48 89 f2 48 8b 02 c3 "),
)

# a jump through a member, with the frame given up
TAIL_CALL = Snippet(
    source="""\
push %rbx
mov %rdi,%rbx
mov 0x8(%rdi),%rax
pop %rbx
jmp *%rax
""",
    code=bytes.fromhex("53 48 89 fb 48 8b 47 08 5b ff e0 "),
)

# ud2 in the middle: a BUG ends there, a WARN goes on
TRAP = Snippet(
    source="""\
mov %rdi,%rax
test %rsi,%rsi
je 1f
xor %eax,%eax
ud2
1: mov (%rax),%rcx
ret
""",
    code=bytes.fromhex("48 89 f8 48 85 f6 74 04 31 c0 0f 0b 48 8b 08 c3 "),
)

# a block that no instruction jumps to joins the rest
FIXUP = Snippet(
    source="""\
mov %rdi,%rax
mov (%rsi),%rdx
1: mov (%rax),%rcx
ret
xor %eax,%eax
jmp 1b
""",
    code=bytes.fromhex("48 89 f8 48 8b 16 48 8b 08 c3 31 c0 eb f8 "),
)

# a jump into the middle of an instruction
OVERLAP = Snippet(
    source="""\
jmp . + 3
mov $0x9090,%eax
ret
""",
    code=bytes.fromhex("eb 01 b8 90 90 00 00 c3 "),
)

# conditional moves of different and of equal values
CMOV = Snippet(
    source="""\
mov %rdi,%rax
test %rdx,%rdx
cmove %rsi,%rax
mov %rdi,%rcx
cmovne %rdi,%rcx
ret
""",
    code=bytes.fromhex("48 89 f8 48 85 d2 48 0f 44 c6 48 89 f9 48 0f 45 cf c3 "),
)

# a stack argument for a callee is not a place to find a value again
OUTGOING = Snippet(
    source="""\
sub $0x18,%rsp
mov %rdi,(%rsp)
mov %rsi,0x8(%rsp)
call . + 0x1000
mov 0x8(%rsp),%rax
add $0x18,%rsp
ret
""",
    code=bytes.fromhex(
        "48 83 ec 18 48 89 3c 24 48 89 74 24 08 e8 fb 0f 00 00 48 8b 44 24 08 48 83 c4 18 c3 "
    ),
)

# pointer arithmetic folds
LEA = Snippet(
    source="""\
lea 0x10(%rdi),%rbx
add $0x8,%rbx
sub $0x4,%rbx
inc %rbx
mov 0x3(%rbx),%rax
lea (%rdi,%rsi,8),%rcx
lea 0x5(%rdi),%edx
ret
""",
    code=bytes.fromhex(
        "48 8d 5f 10 48 83 c3 08 48 83 eb 04 48 ff c3 48 8b 43 03 48 8d 0c f7 8d 57 05 c3 "
    ),
)

# the seventh parameter
STACK_ARGUMENT = Snippet(
    source="""\
mov 0x8(%rsp),%rax
mov 0x8(%rax),%rcx
ret
""",
    code=bytes.fromhex("48 8b 44 24 08 48 8b 48 08 c3 "),
)

# table->slot[i]
INDEXED_READ = Snippet(
    source="""\
mov (%rdi,%rsi,8),%rax
ret
""",
    code=bytes.fromhex("48 8b 04 f7 c3 "),
)

# find_it()->member
CALL_RESULT = Snippet(
    source="""\
push %rbx
call . + 0x1000
mov 0xf0(%rax),%rbx
mov 0xa30(%rbx),%rcx
pop %rbx
ret
""",
    code=bytes.fromhex("53 e8 fb 0f 00 00 48 8b 98 f0 00 00 00 48 8b 8b 30 0a 00 00 5b c3 "),
)

# a global pointer, then a member
GLOBAL = Snippet(
    source="""\
mov 0x1000(%rip),%rax
mov 0xf0(%rax),%rax
ret
""",
    code=bytes.fromhex("48 8b 05 00 10 00 00 48 8b 80 f0 00 00 00 c3 "),
)

# list entry to container, then a member that lies before the node
CONTAINER = Snippet(
    source="""\
mov 0x8(%rdi),%rax
lea -0x20(%rax),%rbx
mov 0x18(%rbx),%rcx
ret
""",
    code=bytes.fromhex("48 8b 47 08 48 8d 58 e0 48 8b 4b 18 c3 "),
)

# this CPU's copy
PER_CPU = Snippet(
    source="""\
mov %gs:0x1fbc0,%rax
mov 0x10(%rax),%rcx
ret
""",
    code=bytes.fromhex("65 48 8b 04 25 c0 fb 01 00 48 8b 48 10 c3 "),
)

# the stack pointer is realigned: nothing is known of the slots
ALIGNED_STACK = Snippet(
    source="""\
push %rbx
mov %rdi,0x20(%rsp)
and $0xfffffffffffffff0,%rsp
push %rdi
mov (%rsp),%rax
ret
""",
    code=bytes.fromhex("53 48 89 7c 24 20 48 83 e4 f0 57 48 8b 04 24 c3 "),
)


def add_function(
    kernel: Kernel,
    name: str,
    snippet: Snippet,
    *parameters: tuple[str, str],
    result: str = "void",
    address: int = BASE,
    described: bool = True,
) -> None:
    """Put a snippet into a kernel's memory as a function, with its prototype."""
    kernel.put(address, snippet.code)
    kernel.symbol(name, address, len(snippet.code))
    if described:
        prog = kernel.prog
        made = [TypeParameter(prog.type(ctype), word) for ctype, word in parameters]
        returned = prog.void_type() if result == "void" else prog.type(result)
        prototype = prog.function_type(returned, made)
        kernel._variables[name] = Object(prog, prototype, address=address)


def fault_frame(snippet: Snippet, pc: int, *, cfa: int | None = None, **registers: int) -> Frame:
    """Make the interrupted frame of a fault at ``pc`` with these registers."""
    held = {
        name: RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
        for name, value in registers.items()
    }
    return Frame(
        index=0,
        pc=pc,
        sp=registers.get("rsp", 0),
        slot=None,
        cfa=cfa,
        function="f",
        offset=pc - BASE,
        size=len(snippet.code),
        module=None,
        interrupted=True,
        registers=held,
    )
