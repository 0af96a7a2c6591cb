"""Recipes of recipes/net on a kernel made by hand: what decides, and what leaves it open."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
from drgn import Object, Program, TypeKind

from crashkit.arguments import Argument, MissingArgument
from crashkit.crash import SkbCandidate, Stack
from crashkit.decode.skb_validation import SkbValidation
from crashkit.decode.slab import SlabIdentity
from crashkit.errors import Reason, Unavailable
from crashkit.fault.model import Fault
from crashkit.finding import Finding, Verdict
from crashkit.recipe import Recipe, load_recipes, run_recipe
from crashkit.unwind import Frame, RegisterValue
from crashkit.value import Certainty, Origin
from recipes.net import dst_ops_null, net_refcount_saturated, netdev_ref_leak, skb_over_panic
from tests.unit.kernel_doubles import Kernel
from tests.unit.netfilter_doubles import ens192, modern_kernel, skb_with
from tests.unit.report_doubles import FakeCrash, as_crash, empty, frame

HEAD = 0xFFFF_893C_80FD_1400
CALLER = 0xFFFF_FFFF_C04A_10EA
OVER = (
    "[    1.8] skbuff: skb_over_panic: text:{text:x} len:{len} put:{put} head:{head:x}"
    " data:{data:x} tail:{tail:#x} end:{end:#x} dev:{dev}\n"
)


@dataclass
class NetCrash(FakeCrash):
    """A crash with a kernel's memory, a stack and its arguments."""

    kernel: Kernel = field(default_factory=modern_kernel)
    skbs: tuple[SkbCandidate, ...] = ()
    stacks: Mapping[int, Stack] = field(default_factory=dict)

    @property
    def prog(self) -> Program:
        return self.kernel.prog

    @property
    def outer_frames(self) -> tuple[Frame, ...]:
        return self.frames

    def find_frame(self, *functions: str) -> Frame | None:
        return next((at for at in self.frames if at.function in functions), None)

    def tasks(self) -> tuple[Object, ...]:
        return tuple(Object(self.prog, "struct task_struct *", task) for task in self.stacks)

    def stack_of(self, task: Object | int) -> Stack:
        return self.stacks[int(task)]


def run(recipe_id: str, crash: FakeCrash) -> Finding:
    recipe = load_recipes().find(recipe_id)
    assert recipe is not None
    found = run_recipe(recipe, as_crash(crash))
    assert found is not None, "the recipe does not apply"
    assert found.error is None, found.error
    return found


def holds(found: Finding) -> dict[str, bool | None]:
    return {check.id: check.holds for check in found.checks}


def argument(name: str, value: int, certainty: Certainty = Certainty.PROVED) -> Argument:
    return Argument(
        name=name,
        ctype="struct sk_buff *",
        value=value,
        origin=Origin.SAVED_REGISTER,
        certainty=certainty,
        how="pushed",
    )


def passed(*found: Argument) -> tuple[tuple[Argument, ...], tuple[MissingArgument, ...]]:
    return found, ()


# skb-over-panic


def overrun(
    *, tail: int = 0x218, put: int = 0x40, certainty: Certainty = Certainty.PROVED
) -> NetCrash:
    """skb_put() of 0x40 bytes went 0x18 past the end; the log says so."""
    kernel = modern_kernel()
    skb = skb_with(kernel, bytes([0x45]) + bytes(99), device=ens192(kernel), head=HEAD)
    kernel.set(skb, {"tail": tail, "len": 164})
    said = {"text": CALLER, "len": 164, "put": 0x40, "head": HEAD, "data": HEAD + 0xAA}
    return NetCrash(
        target=empty().target,
        kernel=kernel,
        log_=OVER.format(**said, tail=0x218, end=0x200, dev="ens192"),
        faulting_function="skb_panic",
        frames=(
            frame(0, "skb_panic", 0x48),
            frame(1, "skb_put.cold", 0x10),
            frame(2, "driver_xmit", 0x2A, module="driver", pc=CALLER),
        ),
        recovered={
            "skb_panic": passed(
                argument("skb", skb.value_(), certainty), argument("sz", put, certainty)
            )
        },
    )


def test_an_overrun_whose_message_and_memory_agree_is_confirmed() -> None:
    found = run("skb-over-panic", overrun())
    assert found.verdict is Verdict.CONFIRMED, holds(found)
    assert found.classes == ("no tailroom",)
    assert found.advice == "driver_xmit+0x2a [driver] called skb_put() for 64 bytes, 40 fitted"


def test_memory_that_the_message_does_not_describe_refutes() -> None:
    found = run("skb-over-panic", overrun(tail=0x118))
    assert found.verdict is Verdict.REFUTED
    assert holds(found) == {
        "message": True,
        "skb": True,
        "operands": False,
        "put": True,
        "outside": False,
        "caller": True,
        "buffer": None,
    }


def test_an_argument_that_differs_from_the_message_refutes() -> None:
    assert holds(run("skb-over-panic", overrun(put=0x41)))["put"] is False


@pytest.mark.parametrize("lost", ["log", "skb", "hashed"])
def test_an_overrun_is_open_without(lost: str) -> None:
    crash = overrun()
    if lost == "log":
        crash = replace(crash, log_=None)
    elif lost == "skb":
        skb = crash.recovered["skb_panic"][0][0].value
        crash.kernel.drop(skb)
    else:  # %p, from v4.15 on until the message was changed
        crash = replace(crash, log_=str(crash.log_).replace(f"{HEAD:x}", "00000000aabbccdd"))
    found = run("skb-over-panic", crash)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert holds(found)["outside"] is None


def test_a_likely_argument_must_have_the_messages_buffer() -> None:
    crash = overrun(certainty=Certainty.INFERRED)
    assert run("skb-over-panic", crash).verdict is Verdict.CONFIRMED
    skb = Object(crash.prog, "struct sk_buff *", crash.recovered["skb_panic"][0][0].value)
    crash.kernel.set(skb, {"head": HEAD + 0x1000})
    assert run("skb-over-panic", crash).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (("skb_over_panic: text:ffffffffc04a10ea len:1720 put:1620 head:ffff8aac41b48000"
          " data:ffff8aac41b48020 tail:0x6d8 end:0x6c0 dev:lo"), (True, 1720, 1620, 0x6D8, "lo")),
        (("skb_under_panic: text:ffffffffc022213f len:154 put:54 head:ffff8ef50235d800"
          " data:ffff8ef50235d7ea tail:0x84 end:0x6c0 dev:<NULL>"),
         (False, 154, 54, 0x84, "<NULL>")),
        (("skb_over_panic: text:c0123456 len:20 put:-4 head:c1230000 data:c1230000 tail:0xc1230000"
          " end:0xc1230100 dev:eth0"), (True, 20, 0xFFFFFFFC, 0xC1230000, "eth0")),
    ],
)  # fmt: skip
def test_message(line: str, wanted: tuple[bool, int, int, int, str]) -> None:
    said = skb_over_panic.find_message(f"[ 1.2] skbuff: {line}\n")
    assert said is not None
    assert (said.over, said.len, said.put, said.tail, said.dev) == wanted


def test_text_alone_confirms_no_overrun() -> None:
    crash = overrun()
    text = replace(empty().target, format="text")
    found = run_recipe(
        load_recipes().find("skb-over-panic"),  # type: ignore[arg-type]
        as_crash(replace(crash, target=text)),
    )
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE


# netdev-ref-leak


def test_last_complaint_counts() -> None:
    waiting = "unregister_netdevice: waiting for {} to become free. Usage count = {}\n"
    log = waiting.format("v0", 3) + waiting.format("lo", 2) + waiting.format("v0", 2)
    said = netdev_ref_leak.find_message(log)
    assert said == netdev_ref_leak.Message(device="v0", count=2, times=2)
    assert netdev_ref_leak.find_message("unregister_netdevice: done") is None


@pytest.mark.parametrize(
    ("references", "counted", "held"),
    [(3, True, True), (2, False, True), (1, True, False), (0, False, False), (-1, True, False)],
)
def test_references_beyond_the_cores_own(references: int, counted: bool, held: bool) -> None:
    assert netdev_ref_leak.are_held(references, own_is_counted=counted) is held


def test_one_reference_is_nobodys_where_the_core_may_have_it() -> None:
    with pytest.raises(Unavailable) as caught:
        netdev_ref_leak.are_held(1, own_is_counted=False)
    assert caught.value.reason is Reason.AMBIGUOUS


STACK = 0xFFFF_C900_0010_0000
RUN_TODO = 0xFFFF_FFFF_8150_0000


def waiting(
    *, slot: int = 0x18, state: int = 3, references: int = 3, name: str = "ens192"
) -> NetCrash:
    """A task in netdev_run_todo(), whose frame has a list with one device."""
    kernel = Kernel()
    kernel.struct(
        "list_head", 16, ("next", "struct list_head *", 0), ("prev", "struct list_head *", 8)
    )
    kernel.struct("atomic", 4, ("counter", "int", 0))
    kernel.typedef("atomic_t", "struct atomic")
    kernel.struct("refcount_struct", 4, ("refs", "atomic_t", 0))
    kernel.typedef("refcount_t", "struct refcount_struct")
    kernel.struct(
        "net_device", 256, ("name", "char [16]", 0), ("todo_list", "struct list_head", 32),
        ("reg_state", "u8", 48), ("dev_refcnt", "refcount_t", 52), ("ip_ptr", "void *", 56),
        ("dev_registered_tracker", "u64", 64),
    )  # fmt: skip
    kernel.struct("task_struct", 64, ("stack", "void *", 0))
    kernel.constant("THREAD_SIZE", "unsigned long", 0x1000)
    kernel.constant("NETREG_UNREGISTERED", "int", 3)
    kernel.symbol("netdev_run_todo", RUN_TODO, 0x400)
    device = kernel.allocate("struct net_device", name=name.encode(), reg_state=state)
    kernel.set(device, {"dev_refcnt": references.to_bytes(4, "little", signed=True)})
    node, sp = device.value_() + 32, STACK + 0x800
    head = sp + slot
    kernel.put(STACK, bytes(0x1000))
    for place, value in ((head, node), (head + 8, node), (node, head), (node + 8, head)):
        kernel.put(place, value.to_bytes(8, "little"))
    kernel.put(sp - 8, (RUN_TODO + 0x30).to_bytes(8, "little"))
    task = kernel.allocate("struct task_struct", stack=STACK)
    todo = frame(4, "netdev_run_todo", 0x30, sp=sp, cfa=sp + 0x60)
    thread = replace(empty().thread, pid=99, comm="ip")
    stack = Stack(thread=thread, running=False, frames=(todo,), end="user space")
    return NetCrash(
        target=empty().target,
        kernel=kernel,
        log_="unregister_netdevice: waiting for ens192 to become free. Usage count = 3\n",
        stacks={task.value_(): stack},
    )


def test_a_task_that_waits_for_a_held_device_is_confirmed() -> None:
    found = run("netdev-ref-leak", waiting())
    assert found.verdict is Verdict.CONFIRMED, holds(found)
    assert holds(found)["count"] is True


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"references": 1}, "held"),
        ({"state": 1}, "state"),
        ({"name": "ens224"}, "waits"),
    ],
)
def test_a_complaint_that_is_over_is_refuted(change: dict[str, int | str], failed: str) -> None:
    found = run("netdev-ref-leak", waiting(**change))  # type: ignore[arg-type]
    assert found.verdict is Verdict.REFUTED
    assert holds(found)[failed] is False


def test_no_waiting_task_refutes_but_an_unread_stack_does_not() -> None:
    crash = waiting()
    crash.kernel.put(STACK + 0x7F8, bytes(8))
    found = run("netdev-ref-leak", crash)
    assert (found.verdict, holds(found)["waits"]) == (Verdict.REFUTED, False)
    crash.kernel.drop(STACK)
    assert run("netdev-ref-leak", crash).verdict is Verdict.INCONCLUSIVE


def test_a_task_that_waits_for_we_know_not_what_leaves_it_open() -> None:
    crash = waiting()
    crash.kernel.put(STACK + 0x818, bytes(16))
    assert run("netdev-ref-leak", crash).verdict is Verdict.INCONCLUSIVE


def test_a_list_that_does_not_point_back_is_none() -> None:
    crash = waiting()
    (task,) = crash.stacks
    todo = crash.stacks[task].frames[0]
    assert len(list(netdev_ref_leak._listed(crash.prog, todo))) == 1
    crash.kernel.put(STACK + 0x820, (STACK + 0x100).to_bytes(8, "little"))
    assert not list(netdev_ref_leak._listed(crash.prog, todo))
    assert not list(netdev_ref_leak._listed(crash.prog, replace(todo, cfa=None)))


# dst-ops-null

UPDATE, OPS, REFDST = 0x28, 0x8, 0x58
CODE = 0xFFFF_FFFF_8110_0000


def null_call(code: bytes, *, function: int = 0, dst_of_skb: int | None = None) -> NetCrash:
    """``code`` is up to and with the call; rbx has the skb, and NULL was called."""
    kernel = Kernel()
    kernel.struct("atomic", 4, ("counter", "int", 0))
    kernel.typedef("atomic_t", "struct atomic")
    kernel.struct("refcount_struct", 4, ("refs", "atomic_t", 0))
    kernel.typedef("refcount_t", "struct refcount_struct")
    function_type = kernel.prog.function_type(kernel.prog.void_type(), ())
    made = kernel.prog.typedef_type("called_t", kernel.prog.pointer_type(function_type))
    kernel._types[TypeKind.TYPEDEF, "called_t"] = made
    kernel.struct(
        "dst_ops", 0x90, ("family", "u16", 0), ("update_pmtu", "called_t", UPDATE),
        ("entries", "u64", 0x88),
    )  # fmt: skip
    kernel.struct(
        "dst_entry", 0x40, ("ops", "struct dst_ops *", OPS), ("other", "void *", 0x18),
        ("flags", "u16", 0x38),
    )  # fmt: skip
    kernel.struct("sk_buff", 0x80, ("dev", "void *", 0x10), ("_skb_refdst", "u64", REFDST))
    ops = kernel.allocate("struct dst_ops", update_pmtu=function)
    dst = kernel.allocate("struct dst_entry", ops=ops.value_(), other=ops.value_(), flags=0x80)
    skb = kernel.allocate("struct sk_buff", dev=dst.value_())
    kernel.set(skb, {"_skb_refdst": (dst_of_skb or dst.value_()) | 1})
    kernel.put(CODE, code + b"\x90\x90\xc3")
    kernel.symbol("tell_mtu", CODE, len(code) + 3)
    registers = {"rip": 0, "rsp": STACK, "rbx": skb.value_(), "rdi": dst.value_()}
    fault = replace(NULL_FAULT, registers=registers)
    held = RegisterValue(value=skb.value_(), origin=Origin.REGISTER, certainty=Certainty.PROVED)
    at = frame(0, None, None, pc=0, interrupted=True, registers={"rbx": held})
    caller = frame(1, "tell_mtu", len(code), pc=CODE + len(code), sp=STACK + 8, slot=STACK)
    candidate = SkbCandidate(
        address=skb.value_(), frame=at, register="rbx", slot=None, found_by="RBX",
        validation=SkbValidation(
            address=skb.value_(), device_named=True, device_registered=True, buffer_ordered=True,
            lengths_agree=True, ip_header=None, ip_checksum=None, ip_length=None, absent={},
        ),
    )  # fmt: skip
    return NetCrash(
        target=empty().target,
        kernel=kernel,
        frames=(at, caller),
        fault=fault,
        skbs=(candidate,),
        fault_frame=at,
    )


NULL_FAULT = Fault(
    ip=0, symbol=None, offset=None, size=None, module=None, source=None, instruction=None,
    access="exec", address=0, bad_register=None, expression=None, null_or_bad=None,
    alternatives=(), certainty=Certainty.INFERRED, diagnosis=SimpleNamespace(),  # type: ignore[arg-type]
    chain=(), steps=(), memory_disagrees=None, registers={}, conflict=None, absent={}, why={},
)  # fmt: skip

# push %rbx; mov %rdi,%rbx; mov 0x58(%rbx),%rdi; and $-2,%rdi; mov 8(%rdi),%rax; call *0x28(%rax)
THROUGH_DST = bytes.fromhex("53 4889fb 488b7b58 4883e7fe 488b4708 ff5028")
# the same through 0x10(%rbx), which is skb->dev
THROUGH_DEV = bytes.fromhex("53 4889fb 488b7b10 488b4708 ff5028")
# … call *0x88(%rax), which is no function of struct dst_ops
NO_FUNCTION = bytes.fromhex("53 4889fb 488b7b58 4883e7fe 488b4708 ff9088000000")
# … mov 0x18(%rdi),%rax: not dst_entry.ops
OTHER_OPS = bytes.fromhex("53 4889fb 488b7b58 4883e7fe 488b4718 ff5028")


def test_a_null_member_of_the_skbs_dst_is_confirmed() -> None:
    found = run("dst-ops-null", null_call(THROUGH_DST))
    assert found.verdict is Verdict.CONFIRMED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert found.classes == ("metadata dst",)
    assert found.fix is not None
    assert found.fix.upstream == "f15ca723c1eb"


@pytest.mark.parametrize(
    ("code", "failed"),
    [(THROUGH_DEV, "skb-dst"), (NO_FUNCTION, "dst-ops"), (OTHER_OPS, "dst-ops")],
    ids=["skb->dev", "no function", "not dst->ops"],
)
def test_a_null_call_through_something_else_is_refuted(code: bytes, failed: str) -> None:
    found = run("dst-ops-null", null_call(code))
    assert found.verdict is Verdict.REFUTED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert holds(found)[failed] is False


def test_a_call_whose_target_is_not_null_is_not_the_call() -> None:
    found = run("dst-ops-null", null_call(THROUGH_DST, function=CODE + 0x1000))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert holds(found)["null-call"] is None


def test_a_dst_that_no_skb_has_leaves_it_open() -> None:
    crash = null_call(THROUGH_DST)
    crash.kernel.set(
        Object(crash.prog, "struct sk_buff *", crash.skbs[0].address), {"_skb_refdst": 0x1000}
    )
    found = run("dst-ops-null", crash)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert holds(found)["skb-dst"] is None


def test_a_null_call_without_a_packet_is_none_of_a_packets_route() -> None:
    recipe = load_recipes().find("dst-ops-null")
    assert recipe is not None
    crash = null_call(THROUGH_DST)
    assert recipe.applies(as_crash(crash))
    assert not recipe.applies(as_crash(replace(crash, skbs=())))


def test_a_stack_that_ends_at_the_bad_address_leaves_it_open() -> None:
    crash = null_call(THROUGH_DST)
    found = run("dst-ops-null", replace(crash, frames=crash.frames[:1]))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert holds(found)["null-call"] is None


def test_an_ops_pointer_from_the_caller_decides_nothing() -> None:
    # call *0x28(%rdi): rdi is a parameter, or a dst_ops or anything else
    crash = null_call(bytes.fromhex("53 ff5728"))
    assert run("dst-ops-null", crash).verdict is Verdict.INCONCLUSIVE


def test_registers_that_only_the_log_has_confirm_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    call = replace(null_call(THROUGH_DST), fault_frame=None)
    assert run("dst-ops-null", call).verdict is Verdict.INCONCLUSIVE
    crash, skb = freed_in_kfree()
    recipe = play_slabs(monkeypatch, "skb-double-free", HEAD, skb)
    found = run_recipe(recipe, as_crash(replace(crash, fault_frame=None)))
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE


def test_only_a_call_of_null_is_looked_at() -> None:
    crash = null_call(THROUGH_DST)
    assert dst_ops_null.applies(as_crash(crash))
    elsewhere = replace(NULL_FAULT, ip=CODE, address=0)
    assert not dst_ops_null.applies(as_crash(replace(crash, fault=elsewhere)))
    assert not dst_ops_null.applies(as_crash(replace(crash, fault=None)))


def all_net() -> Iterator[str]:
    for recipe in load_recipes().recipes:
        if recipe.source.name.startswith("net/"):
            yield recipe.meta.id


def test_recipes_of_this_directory_are_loaded_and_quiet_on_an_empty_dump() -> None:
    assert set(all_net()) >= {
        "dst-ops-null",
        "net-refcount-saturated",
        "netdev-ref-leak",
        "skb-double-free",
        "skb-over-panic",
    }
    for recipe_id in all_net():
        recipe = load_recipes().find(recipe_id)
        assert recipe is not None
        assert run_recipe(recipe, as_crash(NetCrash(target=empty().target))) is None


# skb-double-free and net-refcount-saturated: the slab lists are played


class PlayedSlabs:
    """Free lists that hold what a test says."""

    def __init__(self, *free: int) -> None:
        self.free = free

    def is_free(self, address: int) -> bool:
        return address in self.free


def play_slabs(monkeypatch: pytest.MonkeyPatch, recipe_id: str, *free: int) -> Recipe:
    """Give a recipe slabs of one cache, in which each address is the start of an object."""
    recipe = load_recipes().find(recipe_id)
    assert recipe is not None

    def identity(_prog: Program, address: int) -> SlabIdentity:
        return SlabIdentity(
            address=address, cache=CACHE, cache_name="kmalloc-512", aliases=(),
            object_start=address, offset=0, object_size=512, allocated=True, absent={},
        )  # fmt: skip

    names = vars(sys.modules[recipe.checks.__module__])
    monkeypatch.setitem(names, "slab_identity", identity)
    monkeypatch.setitem(names, "find_slabs", lambda _prog, caches: {caches[0]: PlayedSlabs(*free)})
    monkeypatch.setitem(names, "_kept_for_reuse", lambda _scene, _skb: False)
    return recipe


CACHE = 0xFFFF_893C_0000_1000


def freed_in_kfree(*, held: int | None = None, fclone: int = 0) -> tuple[NetCrash, int]:
    """kfree() stopped with skb->head in rbx; the skb is an argument of skb_release_data()."""
    kernel = modern_kernel()
    kernel.struct(
        "sk_buff", 232, ("dev", "struct net_device *", 16), ("head", "unsigned char *", 200),
        ("fclone", "u8", 216),
    )  # fmt: skip
    skb = kernel.allocate("struct sk_buff", head=HEAD, fclone=fclone).value_()
    registers = {"rip": CODE, "rbx": HEAD if held is None else held}
    crash = NetCrash(
        target=empty().target,
        kernel=kernel,
        log_="kernel BUG at mm/slub.c:419!\n",
        faulting_function="kfree",
        fault_frame=frame(0, "kfree"),
        fault=replace(NULL_FAULT, ip=CODE, address=None, instruction="ud2", registers=registers),
        frames=(frame(0, "kfree"), frame(1, "skb_release_data"), frame(2, "kfree_skb_reason")),
        recovered={"skb_release_data": passed(argument("skb", skb))},
    )
    return crash, skb


@pytest.mark.parametrize(
    ("data_free", "skb_free", "fclone", "verdict"),
    [
        (True, True, 0, Verdict.CONFIRMED),
        (True, False, 0, Verdict.REFUTED),  # a list that leads to what is in use
        (False, True, 0, Verdict.REFUTED),
        (True, False, 1, Verdict.INCONCLUSIVE),  # a pair is freed together
    ],
)
def test_only_an_skb_that_is_free_was_released_before(
    monkeypatch: pytest.MonkeyPatch, data_free: bool, skb_free: bool, fclone: int, verdict: Verdict
) -> None:
    crash, skb = freed_in_kfree(fclone=fclone)
    free = [address for address, is_free in ((HEAD, data_free), (skb, skb_free)) if is_free]
    found = run_recipe(play_slabs(monkeypatch, "skb-double-free", *free), as_crash(crash))
    assert found is not None
    assert (found.verdict, found.error) == (verdict, None), holds(found)


def test_another_object_freed_on_the_way_is_no_double_free_of_the_skb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crash, skb = freed_in_kfree(held=HEAD + 0x1000)
    found = run_recipe(play_slabs(monkeypatch, "skb-double-free", HEAD, skb), as_crash(crash))
    assert found is not None
    assert (found.verdict, holds(found)["object"]) == (Verdict.REFUTED, False)


def counted(*, refs: int = 0xC0000000, protocol_cache: int = CACHE) -> tuple[NetCrash, int]:
    """refcount_warn_saturate() was called for the counter at the start of a socket."""
    kernel = modern_kernel()
    kernel.struct(
        "proto", 64, ("slab", "void *", 0), ("obj_size", "u32", 8), ("name", "char [8]", 16)
    )
    kernel.struct(
        "sock_common", 64, ("skc_refcnt", "refcount_t", 0), ("skc_prot", "struct proto *", 8)
    )
    kernel.struct(
        "sock", 128, ("__sk_common", "struct sock_common", 0), ("sk_wmem_alloc", "refcount_t", 64)
    )
    kernel.variable("init_net", "struct net")
    for name in ("skbuff_head_cache", "nf_conntrack_cachep", "net_cachep"):
        kernel.variable(name, "struct kmem_cache *", CACHE + 0x1000)
    kernel.struct("netns_ct", 8)
    protocol = kernel.allocate("struct proto", slab=protocol_cache, obj_size=128, name=b"UDP")
    sock = kernel.allocate("struct sock").value_()
    kernel.put(
        sock, refs.to_bytes(4, "little") + bytes(4) + protocol.value_().to_bytes(8, "little")
    )
    crash = NetCrash(
        target=empty().target,
        kernel=kernel,
        log_="refcount_t: addition on 0; use-after-free.\n",
        faulting_function="refcount_warn_saturate",
        frames=(frame(0, "refcount_warn_saturate"),),
        recovered={"refcount_warn_saturate": passed(argument("r", sock))},
    )
    return crash, sock


def test_a_saturated_counter_of_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    crash, sock = counted()
    recipe = play_slabs(monkeypatch, "net-refcount-saturated", sock)
    found = run_recipe(recipe, as_crash(crash))
    assert found is not None
    assert (found.verdict, found.error) == (Verdict.CONFIRMED, None), [
        (check.id, check.holds, check.why_not) for check in found.checks
    ]
    assert found.classes == ("use after free",)


@pytest.mark.parametrize(
    ("change", "free", "verdict"),
    [
        ({"refs": 1}, False, Verdict.REFUTED),
        ({"protocol_cache": CACHE + 0x40}, False, Verdict.REFUTED),
        # what it was can no longer be seen
        ({"protocol_cache": CACHE + 0x40}, True, Verdict.INCONCLUSIVE),
    ],
)
def test_another_counter(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, int], free: bool, verdict: Verdict
) -> None:
    crash, sock = counted(**change)
    recipe = play_slabs(monkeypatch, "net-refcount-saturated", *([sock] if free else []))
    found = run_recipe(recipe, as_crash(crash))
    assert found is not None
    assert (found.verdict, found.error) == (verdict, None), [
        (check.id, check.holds, check.why_not) for check in found.checks
    ]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("addition on 0; use-after-free.", "use after free"),
        ("underflow; use-after-free.", "underflow"),
        ("saturated; leaking memory.", "overflow"),
        ("decrement hit 0; leaking memory.", "leak"),
        ("something new; of another kernel.", None),
    ],
)
def test_kind_of_a_refcount_warning(words: str, kind: str | None) -> None:
    assert net_refcount_saturated.kind_of(f"[ 1.0] refcount_t: {words}\n") == kind
