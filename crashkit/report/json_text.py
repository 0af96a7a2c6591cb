"""Documents as JSON text, and their schemas."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from crashkit.report.parts import Json


def render_json(document: Json) -> str:
    """Write a document as JSON; only ASCII, so that nothing in it reaches a terminal."""
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``crashkit.report/1``."""
    return _schema("schema.json")


def bt_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``crashkit.bt/1``; its parts are those of the report."""
    return {**_schema("bt_schema.json"), "$defs": report_schema()["$defs"]}


def conncount_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``crashkit.conncount/1``; its parts are those of the report."""
    return {**_schema("conncount_schema.json"), "$defs": report_schema()["$defs"]}


def conntrack_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``crashkit.conntrack/1``; its parts are those of the report."""
    return {**_schema("conntrack_schema.json"), "$defs": report_schema()["$defs"]}


def oops_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``crashkit.oops/1``; its parts are those of the report."""
    return {**_schema("oops_schema.json"), "$defs": report_schema()["$defs"]}


def _schema(name: str) -> dict[str, Any]:
    text = resources.files("crashkit.report").joinpath(name).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
