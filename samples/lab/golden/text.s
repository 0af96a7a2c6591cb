# The instructions that the report prints, at the addresses it prints them at. build.py
# puts each piece where its label says and checks that the next address is the report's.

piece_ffffffffc0860750:                 # nf_ct_deliver_cached_events
    .byte 0x0f, 0x1f, 0x44, 0x00, 0x00         # nopl 0x0(%rax,%rax,1)
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
    .byte 0x0f, 0x84, 0x83, 0x00, 0x00, 0x00   # je ffffffffc0860810
    mov 0xe8(%rdi),%rax
    test %rax,%rax
end_ffffffffc0860797:

piece_ffffffff9fc96210:                 # nf_reinject+304
    lea 0x28(%rbx),%r14
    movl $0x80000000,0x34(%rbx)
    movzbl 0x38(%rbx),%edx
    mov 0x30(%rbx),%eax
    lea -0x30(%rbp),%rcx
    mov %r13,%rsi
    lea (%rax,%rdx,8),%rdi
    mov %r14,%rdx
    shl $0x4,%rdi
    add $0xffffffffa0367d00,%rdi
    .byte 0xe8, 0x60, 0xeb, 0xff, 0xff         # callq ffffffff9fc94da0 <nf_iterate>
end_ffffffff9fc96240:

piece_ffffffff9fc94da0:                 # nf_iterate
    .byte 0x0f, 0x1f, 0x44, 0x00, 0x00         # nopl 0x0(%rax,%rax,1)
    push %rbp
    mov %rsp,%rbp
    push %r14
    mov %rdi,%r14
    push %r13
    mov %rsi,%r13
    push %r12
    mov %rcx,%r12
    push %rbx
    mov %rdx,%rbx
    sub $0x10,%rsp
end_ffffffff9fc94dc0:
