"""The report document and its renderers."""

from crashkit.report.bt import build_bt
from crashkit.report.document import build_report, limit_entry
from crashkit.report.json_text import bt_schema, render_json, report_schema
from crashkit.report.log import build_log, render_log
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

__all__ = [
    "bt_schema",
    "Json",
    "build_bt",
    "build_log",
    "build_recipe",
    "build_recipes",
    "build_report",
    "build_run",
    "limit_entry",
    "render_bt",
    "render_json",
    "render_log",
    "render_recipe",
    "render_recipes",
    "render_run",
    "render_text",
    "report_schema",
]
