"""The report document and its renderers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crashkit.report.bt import build_bt
    from crashkit.report.conncount import build_conncount
    from crashkit.report.conntrack import Listing
    from crashkit.report.conntrack_explanation import build_explanation
    from crashkit.report.dis import build_dis, render_dis
    from crashkit.report.doctor import build_doctor, render_doctor
    from crashkit.report.document import build_report, limit_entry
    from crashkit.report.explain import build_explain, render_explain
    from crashkit.report.json_text import (
        bt_schema,
        conncount_schema,
        conntrack_schema,
        oops_schema,
        render_json,
        report_schema,
    )
    from crashkit.report.log import build_log, render_log
    from crashkit.report.oops import build_oops, render_oops
    from crashkit.report.parts import Json
    from crashkit.report.recipes_list import (
        build_recipe,
        build_recipes,
        render_recipe,
        render_recipes,
    )
    from crashkit.report.run import build_run, render_run
    from crashkit.report.text import render_text
    from crashkit.report.text_bt import render_bt
    from crashkit.report.text_conncount import render_conncount
    from crashkit.report.text_conntrack import render_explanation
    from crashkit.report.text_conntrack import render_summary as render_conntrack_summary
    from crashkit.report.text_netfilter import render_netfilter

__all__ = [
    "Json",
    "Listing",
    "bt_schema",
    "build_bt",
    "build_conncount",
    "build_dis",
    "build_doctor",
    "build_explain",
    "build_explanation",
    "build_log",
    "build_oops",
    "build_recipe",
    "build_recipes",
    "build_report",
    "build_run",
    "conncount_schema",
    "conntrack_schema",
    "limit_entry",
    "oops_schema",
    "render_bt",
    "render_conncount",
    "render_conntrack_summary",
    "render_dis",
    "render_doctor",
    "render_explain",
    "render_explanation",
    "render_json",
    "render_log",
    "render_netfilter",
    "render_oops",
    "render_recipe",
    "render_recipes",
    "render_run",
    "render_text",
    "report_schema",
]

# Loaded when first used: a triage of one kind of crash needs few of them.
_MODULES = {
    "bt": ("build_bt",),
    "conncount": ("build_conncount",),
    "conntrack": ("Listing",),
    "conntrack_explanation": ("build_explanation",),
    "doctor": ("build_doctor", "render_doctor"),
    "dis": ("build_dis", "render_dis"),
    "explain": ("build_explain", "render_explain"),
    "document": (
        "build_report",
        "limit_entry",
    ),
    "json_text": (
        "bt_schema",
        "conncount_schema",
        "conntrack_schema",
        "oops_schema",
        "render_json",
        "report_schema",
    ),
    "log": (
        "build_log",
        "render_log",
    ),
    "oops": ("build_oops", "render_oops"),
    "parts": ("Json",),
    "recipes_list": (
        "build_recipe",
        "build_recipes",
        "render_recipe",
        "render_recipes",
    ),
    "run": (
        "build_run",
        "render_run",
    ),
    "text": ("render_text",),
    "text_bt": ("render_bt",),
    "text_conncount": ("render_conncount",),
    "text_netfilter": ("render_netfilter",),
    "text_conntrack": (
        "render_explanation",
        "render_conntrack_summary",
    ),
}
_NAMED_OTHERWISE = {"render_conntrack_summary": "render_summary"}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    found = globals()[name] = getattr(module, _NAMED_OTHERWISE.get(name, name))
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
