"""The crashes ``kind-…``: what each needs, and what its console shows."""

from dataclasses import dataclass

NULL = (r"NULL pointer dereference, address: ",)
PAGE = (r"unable to handle page fault for address: ",)
GPF = (r"general protection fault",)
EXEC = (r"supervisor instruction fetch in kernel mode",)
PANIC = r"Kernel panic - not syncing: "
WARNED = ("kernel/panic_on_warn=1",)
HUNG = ("kernel/hung_task_timeout_secs=4", "kernel/hung_task_panic=1")
SOFT = ("kernel/watchdog_thresh=4", "kernel/softlockup_panic=1")
HARD = ("kernel/watchdog_thresh=1", "kernel/hardlockup_panic=1")
STALLED = ("kernel/panic_on_rcu_stall=1",)
NMI = ("kernel/unknown_nmi_panic=1",)
OOM = ("vm/panic_on_oom=1",)
# TAINT_BAD_PAGE: what the checks of slab and page allocator set when they go on.
TAINTED = "panic_on_taint=0x20"
CHECKED = "slub_debug=FZPU"
STALL = "rcupdate.rcu_cpu_stall_timeout=4"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a crash of one kind needs, and what its console shows."""

    #: What happens, in one line.
    summary: str
    #: Regular expressions that the console matches, one after the other.
    shown: tuple[str, ...]
    #: Settings below /proc/sys.
    sysctls: tuple[str, ...] = ()
    #: Words for the kernel's command line.
    arguments: tuple[str, ...] = ()
    #: Number of CPUs.
    cpus: int = 2
    #: What the console shows when an NMI ends it.
    nmi_after: str | None = None
    #: How many NMIs.
    nmis: int = 1
    #: What it shows when a machine check does. The cloud kernels have no code for those.
    machine_check_after: str | None = None
    #: Whether ``kinds.ko`` takes part.
    module: bool = True


def _plain(shown: tuple[str, ...], summaries: dict[str, str]) -> dict[str, Kind]:
    return {name: Kind(summary=text, shown=shown) for name, text in summaries.items()}


FAULTS = {
    **_plain(
        NULL,
        {
            "null": "a member of a NULL member is read",
            "nullw": "the same, written",
            "nullidx": "an element of a NULL array is read",
            "nullunion": "a member of a NULL pointer in a union in an array",
            "nulloff": "a function is given the address of a member of NULL",
            "atomic": "a counter in NULL is incremented atomically",
            "errptr": "a member of ERR_PTR(-ENODEV), as far as past the end of memory",
            "percpu": "the CPU's own variable is a NULL pointer",
            "repmovs": "memory is copied from a member of NULL",
            "strlen": "the length of a NULL text",
            "netdev": "net_device.ethtool_ops is NULL",
            "inode": "inode.i_sb is NULL",
            "skb": "sk_buff.dev is NULL",
            "file": "file.f_path.dentry is NULL",
            "task": "task_struct.mm of a kernel thread",
            "nullcall": "a function pointer of an ops table is NULL",
            "container": "a NULL read for a process with arguments in namespaces and a cgroup",
            "work": "a NULL read in a work item",
            "timer": "a NULL read in a timer",
            "irqwork": "a NULL read in a hard interrupt",
            "rcu": "a NULL read in an RCU callback",
            "thread": "a NULL read in a kernel thread",
        },
    ),
    **_plain(
        PAGE,
        {
            "errptrlow": "a member of ERR_PTR(-ENODEV) that is nearer than the error's number",
            "containerof": "a member of container_of(NULL)",
            "bitflip": "a pointer with one wrong bit, still an address",
            "userptr": "a user-space pointer is read directly",
            "uaf": "a freed object, reused for numbers, is followed",
            "vmfreed": "memory of vmalloc is read after vfree",
            "rowrite": "a constant of the module is written",
        },
    ),
    **_plain(
        GPF,
        {
            "listpoison": "the next of a removed list entry",
            "hlistpoison": "a hash entry is removed twice",
            "uaflist": "a free object is followed: the allocator's own pointer",
            "random": "a pointer of random bits",
            "ascii": "a pointer that text was written over",
            "bitflip55": "a pointer with one wrong bit, no address",
            "percpubad": "a per-CPU pointer of random bits",
            "wildcall": "a function pointer of random bits",
            "freelist": "a free object was written: the allocator follows it",
        },
    ),
    **_plain(
        EXEC,
        {
            "nxjump": "data is called",
            "smep": "user memory is called",
            "unloaded": "a function of a module that was unloaded is called",
        },
    ),
    "poison6b": Kind(
        summary="a freed object with slub_debug's poison is followed",
        shown=GPF,
        arguments=(CHECKED, TAINTED),
    ),
    "timerfreed": Kind(
        summary="a timer fires in an object that was freed and reused", shown=(r"RIP: ",)
    ),
    "div0": Kind(summary="a division by zero", shown=(r"divide error: ",)),
    "opcode": Kind(summary="an instruction that does not exist", shown=(r"invalid opcode: ",)),
}
CHECKS = {
    "bug": Kind(summary="BUG_ON with two operands", shown=(r"kernel BUG at ",)),
    "warn": Kind(summary="WARN_ON, panic_on_warn", shown=(r"WARNING: ",), sysctls=WARNED),
    "warntext": Kind(summary="WARN with text", shown=(r"queue of orders0",), sysctls=WARNED),
    "panic": Kind(summary="panic() with text", shown=(PANIC + "order table of orders0",)),
    "stackoverflow": Kind(summary="endless recursion", shown=(r"stack guard page",)),
    "stackprotector": Kind(
        summary="a local array overflows", shown=(r"stack is corrupted in: parse_name",)
    ),
    "fortify": Kind(summary="strcpy of a text too long", shown=(r"detected buffer overflow",)),
    "doublefault": Kind(summary="a stack pointer that leads nowhere", shown=(r"double fault",)),
    "refcount": Kind(summary="refcount_inc of 0", shown=(r"addition on 0",), sysctls=WARNED),
    "refcountfull": Kind(summary="refcount_inc of INT_MAX", shown=(r"saturated",), sysctls=WARNED),
    "refcountunder": Kind(
        summary="a reference is dropped twice", shown=(r"underflow",), sysctls=WARNED
    ),
    "usercopy": Kind(summary="more is copied out than the object", shown=(r"exposure attempt",)),
    "schedatomic": Kind(
        summary="a sleep under a spinlock",
        shown=(r"scheduling while atomic",),
        sysctls=WARNED,
    ),
    "init": Kind(summary="the first process exits", shown=(r"Attempted to kill init",)),
    "initsegv": Kind(
        summary="the first process dies by a signal", shown=(r"Attempted to kill init",)
    ),
    "noroot": Kind(
        summary="no first program in the initramfs, and no device with the root file system",
        shown=(r"VFS: Cannot open root device", PANIC + "VFS: Unable to mount root fs"),
        arguments=("rdinit=/sbin/none", "root=/dev/vda1"),
    ),
    "mce": Kind(
        summary="a machine check; with --kernel 6.1/amd64, not for the cloud kernels",
        shown=(r"Machine Check Exception", PANIC + "Fatal"),
        machine_check_after=r"ready for a machine check",
        module=False,
    ),
    "nmi": Kind(
        summary="an NMI for no reason known",
        shown=(r"NMI: Not continuing|NMI.*unknown reason", PANIC),
        sysctls=NMI,
        nmi_after=r"ready for an NMI",
    ),
}
MEMORY = {
    "listdel": Kind(summary="list_del twice", shown=(r"list_del corruption",)),
    "listadd": Kind(summary="list_add after a damaged entry", shown=(r"list_add corruption",)),
    "dfree": Kind(summary="kfree twice", shown=(r"kernel BUG at mm/slub",)),
    "redzone": Kind(
        summary="an object's end is overrun; slub_debug",
        shown=(r"Right Redzone overwritten", PANIC + "panic_on_taint"),
        arguments=(CHECKED, TAINTED),
    ),
    "poisonwrite": Kind(
        summary="a freed object is written; slub_debug",
        shown=(r"Poison overwritten", PANIC + "panic_on_taint"),
        arguments=(CHECKED, TAINTED),
    ),
    "badpage": Kind(
        summary="a page is freed with a mapping",
        shown=(r"BUG: Bad page state", PANIC + "panic_on_taint"),
        arguments=(TAINTED,),
    ),
    **{
        name: Kind(summary=text, shown=(r"invoked oom-killer", PANIC), sysctls=OOM)
        for name, text in {
            "oomslab": "a slab cache grows until memory is out",
            "oomvmalloc": "vmalloc areas until memory is out",
            "oompages": "pages that nothing accounts for until memory is out",
            "oomtmpfs": "files of a tmpfs until memory is out",
            "oomrss": "a process takes all memory",
        }.items()
    },
    "oomcgroup": Kind(
        summary="a process takes all memory of its cgroup; panic_on_oom=2",
        shown=(r"invoked oom-killer", PANIC),
        sysctls=("vm/panic_on_oom=2",),
    ),
}
STALLS = {
    "softlockup": Kind(summary="a loop", shown=(r"soft lockup", PANIC), sysctls=SOFT),
    "hardlockup": Kind(
        summary="a loop with interrupts off, found by the NMI watchdog",
        shown=(r"Watchdog detected hard LOCKUP on cpu 0", PANIC + "Hard LOCKUP"),
        sysctls=HARD,
        nmi_after=r"ready for an NMI",
        nmis=4,
    ),
    "spinlock": Kind(
        summary="two CPUs wait for a spinlock whose holder loops",
        shown=(r"soft lockup", PANIC),
        sysctls=SOFT,
        cpus=3,
    ),
    "spinself": Kind(
        summary="a CPU waits for the spinlock that it holds",
        shown=(r"soft lockup", PANIC),
        sysctls=SOFT,
    ),
    "spinabba": Kind(
        summary="two CPUs, two spinlocks, interrupts off; an NMI",
        shown=(PANIC,),
        sysctls=NMI,
        cpus=3,
        nmi_after=r"ready for an NMI",
    ),
    "rcustall": Kind(
        summary="a loop in an RCU reader",
        shown=(r"detected stall|self-detected", PANIC + "RCU Stall"),
        sysctls=STALLED,
        arguments=(STALL,),
    ),
    "rcuirqs": Kind(
        summary="a loop with interrupts off",
        shown=(r"detected stall", PANIC + "RCU Stall"),
        sysctls=STALLED,
        arguments=(STALL,),
    ),
    **{
        name: Kind(
            summary=text, shown=(r"blocked for more than", PANIC + "hung_task"), sysctls=HUNG
        )
        for name, text in {
            "hungmutex": "a task waits for a mutex whose owner sleeps",
            "abba": "two tasks wait for each other's mutex, a third behind them",
            "hungwriter": "a writer waits for an rwsem that a sleeping reader has",
            "hungreader": "a reader waits for an rwsem that a sleeping writer has",
            "hungcompletion": "a task waits for a completion that nobody completes",
            "hungsemaphore": "a task waits for a semaphore that it took itself",
        }.items()
    },
}
KINDS = {**FAULTS, **CHECKS, **MEMORY, **STALLS}
