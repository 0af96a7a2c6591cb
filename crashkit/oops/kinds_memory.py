"""Reports of damaged memory: lists, counts, slabs, pages, and what the sanitizers say."""

from __future__ import annotations

from crashkit.oops import layers
from crashkit.oops.kind import IN, Blame, Weight
from crashkit.oops.kind import make_kind as _kind

_IN_FUNCTION = (
    r" in (?:\[<?[0-9a-f]{8,16}>?\] ?|[0-9a-f]{8,16} )?(?P<function>[A-Za-z_][\w.]{0,127})"
)

_CHECKED = (  # lib/list_debug.c, lib/refcount.c, mm/usercopy.c, mm/page_alloc.c, mm/memory.c
    _kind("list-corruption", "list_add ", "BUG: corrupted list" + IN, Blame.CALLER,
          pattern=r"^list_add (?:corruption|double add)|: list_add corruption"),
    _kind("list-corruption", "list_del corruption", "BUG: corrupted list" + IN, Blame.CALLER),
    _kind("refcount", "refcount_t: ", "WARNING: refcount bug" + IN, Blame.CALLER,
          Weight.NOTICE, pattern=r"^refcount_t: (?:\w[\w -]{0,24}; |hit )",
          skip=layers.COUNTED),
    _kind("usercopy", "usercopy: Kernel memory ", "BUG: bad usercopy" + IN, Blame.CALLER,
          pattern=r"usercopy: Kernel memory (?:exposure|overwrite) attempt",
          skip=layers.COPIED),
    _kind("bad-page", "BUG: Bad page ", "BUG: Bad page {what}" + IN, Blame.ORIGIN,
          Weight.NOTICE, pattern=r"BUG: Bad page (?P<what>state|cache)",
          after="page last allocated",
          skip=layers.PAGES),
    _kind("bad-page", "BUG: Bad page map", "BUG: Bad page map", Blame.NONE, Weight.NOTICE),
    _kind("bad-page", "BUG: Bad rss-counter state", "BUG: Bad rss-counter state", Blame.NONE,
          Weight.NOTICE, single=True),
    _kind("bad-page", "BUG: non-zero ", "BUG: non-zero {what} on freeing mm", Blame.NONE,
          Weight.NOTICE, pattern=r"BUG: non-zero (?P<what>\w{1,24}) on freeing mm", single=True),
    _kind("warning", "page allocation failure", "page allocation failure" + IN, Blame.CALLER,
          Weight.NOTICE, pattern=r": page allocation failure[:.] ?(?:order|mode)",
          skip=layers.MAKING_PAGES),
    _kind("oom", "invoked oom-killer", "INFO: out of memory", Blame.NONE, Weight.NOTICE,
          pattern=r"invoked oom-killer: "),
    _kind("slab-corruption", "VFS: Close: file count is ",
          "VFS: Close: file count is zero (use-after-free)", Blame.NONE, Weight.NOTICE,
          single=True),
    _kind("slab-corruption", "VFS: Busy inodes after unmount",
          "VFS: Busy inodes after unmount (use-after-free)", Blame.NONE, Weight.NOTICE,
          single=True),
    _kind("warning", "BUG: Dentry ", "BUG: Dentry still in use{unmounted}", Blame.NONE,
          Weight.NOTICE, pattern=r"BUG: Dentry .{1,200} still in use"
          r"(?: \(\d{1,9}\) \[(?P<unmounted>unmount) of )?"),
)  # fmt: skip

_KASAN = (  # mm/kasan/report.c
    _kind("null-pointer-dereference", "BUG: KASAN: null-ptr-deref", "KASAN: {what}{access}" + IN,
          Blame.LINE, pattern=r"BUG: KASAN: (?P<what>null-ptr-deref)" + _IN_FUNCTION),
    _kind("null-pointer-dereference", "BUG: KASAN: null-ptr-deref", "KASAN: {what}{access}" + IN,
          Blame.NONE, pattern=r"BUG: KASAN: (?P<what>null-ptr-deref) on "),
    _kind("slab-corruption", "BUG: KASAN: ", "KASAN: invalid-free" + IN, Blame.LINE,
          pattern=r"BUG: KASAN: (?:double-free or invalid-free|double-free|invalid-free)"
          + _IN_FUNCTION, skip=layers.FREEING),
    _kind("page-fault", "BUG: KASAN: ", "KASAN: {what}{access}" + IN, Blame.LINE,
          pattern=r"BUG: KASAN: (?P<what>(?:wild|user)-memory-access)" + _IN_FUNCTION),
    _kind("page-fault", "BUG: KASAN: ", "KASAN: {what}{access}", Blame.NONE,
          pattern=r"BUG: KASAN: (?P<what>(?:wild|user)-memory-access) on "),
    _kind("slab-corruption", "BUG: KASAN: ", "KASAN: {what}{access}" + IN, Blame.LINE,
          pattern=r"BUG: KASAN: (?P<what>[\w -]{1,40}?)" + _IN_FUNCTION,
          skip=layers.TAG_FAULTS),
    _kind("slab-corruption", "BUG: KASAN: ", "KASAN: {what}{access}", Blame.NONE,
          pattern=r"BUG: KASAN: (?P<what>[\w -]{1,40}?) on "),
)  # fmt: skip

_SANITIZERS = (  # mm/kfence/report.c, mm/kmsan/report.c, kernel/kcsan/report.c, lib/ubsan.c
    _kind("slab-corruption", "BUG: KFENCE: ", "KFENCE: {what}" + IN, Blame.LINE,
          pattern=r"BUG: KFENCE: (?P<what>[\w -]{1,40}?)" + _IN_FUNCTION),
    _kind("warning", "BUG: KMSAN: ", "KMSAN: {what}" + IN, Blame.LINE, Weight.NOTICE,
          pattern=r"BUG: KMSAN: (?P<what>kernel-usb-infoleak)" + _IN_FUNCTION,
          skip=layers.URBS),
    _kind("warning", "BUG: KMSAN: ", "KMSAN: {what}" + IN, Blame.LINE, Weight.NOTICE,
          pattern=r"BUG: KMSAN: (?P<what>[\w -]{1,40}?)" + _IN_FUNCTION,
          skip=layers.CARRIERS),
    _kind("warning", "BUG: KCSAN: ", "KCSAN: {what}{function_list}", Blame.NONE, Weight.NOTICE,
          pattern=r"BUG: KCSAN: (?P<what>[\w -]{1,40}) in (?P<function_list>.{1,160})"),
    _kind("warning", "UBSAN: ", "UBSAN: {what}" + IN, Blame.CALLER, Weight.NOTICE,
          pattern=r"UBSAN: (?P<what>[\w -]{1,60}?) in ", skip=layers.ARITHMETIC),
)  # fmt: skip

_SLABS = (  # mm/slub.c, mm/slab.c, mm/kmemleak.c
    _kind("slab-corruption", "Object already free", "BUG: Object already free", Blame.NONE,
          Weight.NOTICE, pattern=r"^BUG [\w:.-]{1,64}.{0,60}: Object already free"),
    _kind("slab-corruption", "BUG ", "BUG: {what}", Blame.NONE, Weight.NOTICE,
          pattern=r"^BUG [\w:.()-]{1,64}(?: ?\((?:Not tainted|Tainted.{0,120})\)|"
                  r" {2,}Tainted.{0,60}): (?P<what>(?!kasan).{1,60})"),
    _kind("slab-corruption", "BUG ", "BUG: {what}", Blame.NONE, Weight.NOTICE,
          pattern=r"^BUG [\w:.()-]{1,64}: (?P<what>(?:Objects remaining|[Pp]o?ison overwritten|"
                  r"(?:(?:Left|Right) )?Redzone overwritten|(?:Object )?[Pp]adding overwritten|"
                  r"Free(?:pointer|list|chain)|Invalid object|Object corrupt).{0,60})"),
    _kind("slab-corruption", "lab error in ", "BUG: slab error in {what}", Blame.NONE,
          Weight.NOTICE, pattern=r"[Ss]lab error in (?P<what>\w{1,40})\(\)"),
    _kind("slab-corruption", "lab corruption", "BUG: slab corruption", Blame.NONE, Weight.NOTICE,
          pattern=r"^Slab corruption(?: \(.{0,80}\))?: "),
    _kind("slab-corruption", "ouble free detected", "BUG: double free detected", Blame.NONE,
          Weight.NOTICE, pattern=r"[Dd]ouble free detected"),
    _kind("slab-corruption", "INFO: ", "INFO: {what} in {who}", Blame.NONE, Weight.NOTICE,
          pattern=r"^INFO: (?P<what>Freed|Allocated) in (?P<who>.{1,120})"),
    _kind("warning", "BUG: memory leak", "memory leak" + IN, Blame.CALLER, Weight.NOTICE,
          skip=layers.OBJECTS_MADE),
)  # fmt: skip

_STACKS = (  # kernel/panic.c: __stack_chk_fail(); kernel/sched/core.c: schedule_debug()
    _kind("stack-corruption", "corrupted stack end detected",
          "kernel panic: corrupted stack end" + IN, Blame.ENTRY,
          pattern=r"panic - not syncing: corrupted stack end", skip=layers.PREEMPTED),
    _kind("stack-corruption", "stack is corrupted in",
          "kernel panic: stack is corrupted" + IN, Blame.LINE,
          pattern=r"[Ss]tack is corrupted in:? ?(?:\[?<?[0-9a-f]{8,16}>?\]? ?)?"
                  r"(?P<function>[A-Za-z_][\w.]{0,127}(?=\+0x))?", skip=layers.STACK_CHECK),
)  # fmt: skip

MEMORY = (*_CHECKED, *_KASAN, *_SANITIZERS, *_STACKS)
"""Rows, the more particular before the more general of one line."""
SLABS = _SLABS
"""The same for slab caches: general patterns, tried last."""
