"""Micro-functions of clones, lists and tail calls; as :mod:`tests.unit.fault_doubles`."""

from __future__ import annotations

from tests.unit.code_doubles import Snippet

HALF_A_LINK = Snippet(
    source="""\
mov 0xc(%rdi),%eax
ret
""",
    code=bytes.fromhex("8b 47 0c c3"),
)

READS_ENTRY = Snippet(
    source="""\
mov 0x18(%rdi),%rax
mov 0x10(%rax),%rcx
mov 0x8(%rcx),%edx
ret
""",
    code=bytes.fromhex("48 8b 47 18 48 8b 48 10 8b 51 08 c3"),
)

CALLS_ACCESSOR = Snippet(
    source="""\
push %rbx
mov %rdi,%rbx
mov 0x8(%rdi),%rdi
call . + 0x1000
mov 0x10(%rax),%rcx
pop %rbx
ret
""",
    code=bytes.fromhex("53 48 89 fb 48 8b 7f 08 e8 fb 0f 00 00 48 8b 48 10 5b c3"),
)

CONTAINER_OF = Snippet(
    source="""\
lea -0x28(%rdi),%rax
ret
""",
    code=bytes.fromhex("48 8d 47 d8 c3"),
)

RETURNS_ERROR = Snippet(
    source="""\
mov $0xffffffffffffffd8,%rax
ret
""",
    code=bytes.fromhex("48 c7 c0 d8 ff ff ff c3"),
)

JUMPS_ON = Snippet(
    source="""\
mov 0x10(%rdi),%rdi
jmp . + 0x1000
""",
    code=bytes.fromhex("48 8b 7f 10 e9 fb 0f 00 00"),
)

HANDS_STRAIGHT_ON = Snippet(
    source="""\
xor %esi,%esi
jmp . + 0x1000
""",
    code=bytes.fromhex("31 f6 e9 fb 0f 00 00"),
)

COPY_END = Snippet(
    source="""\
mov -0x8(%rdi,%rsi,1),%rcx
ret
""",
    code=bytes.fromhex("48 8b 4c 37 f8 c3"),
)

BYTES_INDEX = Snippet(
    source="""\
mov 0x20(%rdi,%rsi,1),%rax
mov 0x8(%rax),%ecx
ret
""",
    code=bytes.fromhex("48 8b 44 37 20 8b 48 08 c3"),
)

PASSES_RESULT = Snippet(
    source="""\
push %rbx
mov %rdi,%rbx
mov (%rdi),%rax
call *0x8(%rax)
mov %rax,%rdi
call . + 0x1000
mov %rbx,%rax
pop %rbx
ret
""",
    code=bytes.fromhex("53 48 89 fb 48 8b 07 ff 50 08 48 89 c7 e8 fb 0f 00 00 48 89 d8 5b c3"),
)
