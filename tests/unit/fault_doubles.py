"""Micro-functions for faults; bytes and checks as in :mod:`tests.unit.code_doubles`."""

from __future__ import annotations

from tests.unit.code_doubles import Snippet

LIST_WALK = Snippet(
    source="""\
mov 0x8(%rdi),%rax
jmp 2f
1: mov 0x18(%rax),%rax
2: mov -0x10(%rax),%edx
add %edx,%ecx
test %edx,%edx
jne 1b
ret
""",
    code=bytes.fromhex("48 8b 47 08 eb 04 48 8b 40 18 8b 50 f0 01 d1 85 d2 75 f3 c3"),
)

TABLE = Snippet(
    source="""\
movslq %esi,%rsi
lea (%rsi,%rsi,2),%rax
mov 0x20(%rdi,%rax,8),%rdx
mov 0x8(%rdx),%eax
ret
""",
    code=bytes.fromhex("48 63 f6 48 8d 04 76 48 8b 54 c7 20 8b 42 08 c3"),
)

SELECT = Snippet(
    source="""\
mov 0x8(%rdi),%rax
test %edx,%edx
je 1f
mov 0x10(%rsi),%rax
1: mov 0x20(%rax),%ecx
ret
""",
    code=bytes.fromhex("48 8b 47 08 85 d2 74 04 48 8b 46 10 8b 48 20 c3"),
)

SELECT_CONTAINER = Snippet(
    source="""\
mov 0x8(%rdi),%rax
lea -0x18(%rax),%rax
test %edx,%edx
je 1f
mov 0x8(%rsi),%rax
lea -0x18(%rax),%rax
1: mov 0x8(%rax),%ecx
ret
""",
    code=bytes.fromhex("48 8b 47 08 48 8d 40 e8 85 d2 74 08 48 8b 46 08 48 8d 40 e8 8b 48 08 c3"),
)

SELECT_PARAMETER = Snippet(
    source="""\
mov %rdi,%rax
test %edx,%edx
je 1f
mov %rsi,%rax
1: mov 0x8(%rax),%rcx
ret
""",
    code=bytes.fromhex("48 89 f8 85 d2 74 03 48 89 f0 48 8b 48 08 c3"),
)

LEAF = Snippet(
    source="""\
mov 0x10(%rdi),%rax
ret
""",
    code=bytes.fromhex("48 8b 47 10 c3"),
)

DEEP_LEAF = Snippet(
    source="""\
mov 0x10(%rdi),%rax
mov 0x8(%rax),%rcx
ret
""",
    code=bytes.fromhex("48 8b 47 10 48 8b 48 08 c3"),
)

# What it was given is handed on to another.
HANDS_ON = Snippet(
    source="""\
mov 0x10(%rdi),%rax
mov 0x8(%rax),%rcx
sub $0x8,%rsp
call . + 0x1000
add $0x8,%rsp
ret
""",
    code=bytes.fromhex("48 8b 47 10 48 8b 48 08 48 83 ec 08 e8 fb 0f 00 00 48 83 c4 08 c3"),
)

BELOW = Snippet(
    source="""\
1: mov 0x20(%rdi),%rax
mov (%rax),%rcx
mov 0x20(%rdi),%rdi
test %rcx,%rcx
jne 1b
ret
""",
    code=bytes.fromhex("48 8b 47 20 48 8b 08 48 8b 7f 20 48 85 c9 75 f0 c3"),
)

# Where rax comes from, no expression says.
SWAPPED = Snippet(
    source="""\
mov (%rdi),%rax
bswap %rax
mov 0x10(%rax),%rcx
mov 0x8(%rcx),%rdx
ret
""",
    code=bytes.fromhex("48 8b 07 48 0f c8 48 8b 48 10 48 8b 51 08 c3"),
)

OWN_NULL = Snippet(
    source="""\
xor %eax,%eax
mov 0x8(%rax),%rcx
ret
""",
    code=bytes.fromhex("31 c0 48 8b 48 08 c3"),
)

RETURNS_CALL = Snippet(
    source="""\
sub $0x8,%rsp
call . + 0x1000
add $0x8,%rsp
ret
""",
    code=bytes.fromhex("48 83 ec 08 e8 fb 0f 00 00 48 83 c4 08 c3"),
)

RETURNS_CALL_OR_NUMBER = Snippet(
    source="""\
sub $0x8,%rsp
call . + 0x1000
add $0x8,%rsp
test %rax,%rax
jne 1f
mov $0x5,%eax
ret
1: ret
""",
    code=bytes.fromhex(
        "48 83 ec 08 e8 fb 0f 00 00 48 83 c4 08 48 85 c0 75 06 b8 05 00 00 00 c3 c3"
    ),
)

READS_RESULT = Snippet(
    source="""\
push %rbx
call . + 0x1000
mov 0x10(%rax),%rbx
mov 0x8(%rbx),%rcx
pop %rbx
ret
""",
    code=bytes.fromhex("53 e8 fb 0f 00 00 48 8b 58 10 48 8b 4b 08 5b c3"),
)

TRAP_IF = Snippet(
    source="""\
mov 0x8(%rdi),%eax
cmp %eax,%esi
ja 1f
mov %esi,0x8(%rdi)
ret
1: ud2
""",
    code=bytes.fromhex("8b 47 08 39 c6 77 04 89 77 08 c3 0f 0b"),
)

TRAP_OR = Snippet(
    source="""\
test %rdi,%rdi
je 1f
cmp $0x5,%esi
jg 1f
ret
1: ud2
""",
    code=bytes.fromhex("48 85 ff 74 06 83 fe 05 7f 01 c3 0f 0b"),
)

DIVIDE = Snippet(
    source="""\
mov %rsi,%rax
cqto
idivq 0x8(%rdi)
ret
""",
    code=bytes.fromhex("48 89 f0 48 99 48 f7 7f 08 c3"),
)

CALL_OPS = Snippet(
    source="""\
push %rbx
mov %rdi,%rbx
mov (%rdi),%rax
call *0x8(%rax)
pop %rbx
ret
""",
    code=bytes.fromhex("53 48 89 fb 48 8b 07 ff 50 08 5b c3"),
)

CALL_CONTAINERS = Snippet(
    source="""\
push %rbx
mov %rdi,%rbx
call *-0x8(%rdi)
pop %rbx
ret
""",
    code=bytes.fromhex("53 48 89 fb ff 57 f8 5b c3"),
)

CALLER = Snippet(
    source="""\
push %rbx
mov %rdi,%rbx
mov 0x10(%rdi),%rdi
call . + 0x1000
mov %rbx,%rax
pop %rbx
ret
""",
    code=bytes.fromhex("53 48 89 fb 48 8b 7f 10 e8 fb 0f 00 00 48 89 d8 5b c3"),
)

COPY = Snippet(
    source="""\
mov %rdx,%rcx
rep movsb
ret
""",
    code=bytes.fromhex("48 89 d1 f3 a4 c3"),
)

# n is lost: it cannot be told how far this came.
COPY_COUNTED = Snippet(
    source="""\
mov %rdx,%rcx
xor %edx,%edx
rep movsb
ret
""",
    code=bytes.fromhex("48 89 d1 31 d2 f3 a4 c3"),
)

CALL_ANY = Snippet(
    source="""\
push %rbx
mov %rdi,%rbx
call *%rax
mov %rbx,%rax
pop %rbx
ret
""",
    code=bytes.fromhex("53 48 89 fb ff d0 48 89 d8 5b c3"),
)

KEPT = Snippet(
    source="""\
mov 0x10(%rdi),%rax
mov 0x8(%rax),%ecx
ret
""",
    code=bytes.fromhex("48 8b 47 10 8b 48 08 c3"),
)

LOST = Snippet(
    source="""\
mov 0x10(%rdi),%rax
xor %edi,%edi
mov 0x8(%rax),%ecx
ret
""",
    code=bytes.fromhex("48 8b 47 10 31 ff 8b 48 08 c3"),
)

CONTAINER_READ = Snippet(
    source="""\
mov -0x8(%rdi),%rax
mov 0x8(%rax),%ecx
ret
""",
    code=bytes.fromhex("48 8b 47 f8 8b 48 08 c3"),
)

ONCE = Snippet(
    source="""\
cmp $0x5,%esi
je 1f
ret
1: cmpb $0x0,0x1000(%rip)
jne 2f
movb $0x1,0xff7(%rip)
ud2
2: ret
""",
    code=bytes.fromhex(
        "83 fe 05 74 01 c3 80 3d 00 10 00 00 00 75 09 c6 05 f7 0f 00 00 01 0f 0b c3"
    ),
)

POINTER_AND_OFFSET = Snippet(
    source="""\
mov 0x8(%rdi),%rax
mov (%rdi),%rcx
add %rax,%rcx
mov (%rcx),%rdx
ret
""",
    code=bytes.fromhex("48 8b 47 08 48 8b 0f 48 01 c1 48 8b 11 c3"),
)
