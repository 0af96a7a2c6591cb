"""Debug files of this and of another build; modules without a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crashkit.crash import Crash, open_crash
from crashkit.errors import SymbolsError
from tests.lab.conftest import debug_directory, lab_vmcore

pytestmark = pytest.mark.lab


def vmlinux() -> Path:
    return next(debug_directory().rglob("lib/modules/*/vmlinux"))


def test_vmlinux_of_another_build_is_refused() -> None:
    with pytest.raises(SymbolsError, match="not the vmlinux of this dump"):
        open_crash(lab_vmcore("clash-stock-6.12"), symbols=[vmlinux()])


def test_unreadable_symbol_file_is_named() -> None:
    with pytest.raises(SymbolsError, match="/nonexistent/vmlinux cannot be read"):
        open_crash(lab_vmcore("clash-stock-6.1"), symbols=["/nonexistent/vmlinux"])


def test_named_vmlinux_and_modules_from_the_dump_are_hybrid() -> None:
    with open_crash(lab_vmcore("clash-stock-6.1"), symbols=[vmlinux()]) as crash:
        status = {found.module: found.status for found in crash.debuginfo}
        assert crash.types == "hybrid"
        assert status["vmlinux"] == "found"
        assert status["nf_conntrack"] == "in-core"
        assert crash.fault is not None
        assert crash.fault.expression == "item->ct->ct_net->ct.nf_conntrack_event_cb"


def test_drgn_finds_nothing_behind_our_back(opened: Callable[..., Crash]) -> None:
    crash = opened("clash-stock-6.1")
    assert crash.prog.enabled_debug_info_finders() == []
    assert crash.prog.main_module().debug_file_path is None
    assert all(found.path is None for found in crash.debuginfo)
