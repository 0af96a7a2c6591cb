"""Which functions a title is not about, and that the layers are told apart by what they share."""

from __future__ import annotations

import pytest

from crashkit.oops import layers
from crashkit.oops.skips import Family, is_dispatcher, is_in, is_interrupt, is_passed_over


@pytest.mark.parametrize(
    "name",
    [
        "dump_stack_lvl", "panic", "ext4_panic", "vprintk_emit", "kasan_report", "__asan_load8",
        "_raw_spin_lock_irqsave", "mutex_lock_nested", "down", "__wake_up",
        "refcount_warn_saturate", "arch_atomic_dec", "memcpy", "strnlen", "_copy_to_user",
        "vsnprintf", "crc32c", "__list_del", "rb_erase", "kmalloc_trace", "__kmem_cache_free",
        "kfree", "find_lock_entries", "del_timer_sync", "kobject_put", "usb_submit_urb", "iput",
    ],
)  # fmt: skip
def test_servants_are_passed_over(name: str) -> None:
    assert is_passed_over(name)


@pytest.mark.parametrize(
    "name",
    [
        "nf_conntrack_confirm", "skb_copy_bits", "show_timer", "unwind_next_frame",
        "kfree_rcu_work", "tcp_v4_rcv", "ext4_readdir", "stringify_map", "complain", "downtime",
        "reader_loop", "vfs_rmdir", "listen_loop", "io_uring_poll",
    ],
)  # fmt: skip
def test_others_are_not(name: str) -> None:
    assert not is_passed_over(name)
    assert not is_dispatcher(name)


@pytest.mark.parametrize(
    "name",
    ["do_syscall_64", "__do_softirq", "vfs_write", "process_one_work", "full_proxy_write"],
)
def test_dispatchers(name: str) -> None:
    assert is_dispatcher(name)


def test_interrupts() -> None:
    assert is_interrupt("asm_sysvec_apic_timer_interrupt")
    assert not is_interrupt("do_idle")


def test_a_family_without_names_has_no_members() -> None:
    assert not is_in(layers.NOBODY)("anything")


def test_ways_to_compare() -> None:
    family = Family("here", starts=("a_",), holds=("_mid_",), ends=("_z",),
                    exactly=frozenset({"only"}), words=frozenset({"word"}))  # fmt: skip
    belongs = is_in(family)
    for name in ("a_b", "__a_b", "x_mid_y", "x_z", "only", "x_word", "word_x"):
        assert belongs(name), name
    for name in ("b_a_", "onlyx", "wordy_x", "z"):
        assert not belongs(name), name


def test_a_task_that_sleeps_is_not_about_its_lock() -> None:
    sleeping = is_in(layers.SLEEPING)
    for name in ("schedule_timeout", "rwsem_down_read_slowpath", "wait_for_common", "__switch_to"):
        assert sleeping(name), name
    assert not sleeping("change_config")


@pytest.mark.parametrize(
    "family", [one for one in vars(layers).values() if isinstance(one, Family)]
)
def test_every_family_says_where_it_is(family: Family) -> None:
    assert family.source
    assert "/" in family.source or family is layers.NOBODY
