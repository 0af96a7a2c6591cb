"""Documents as JSON text, and the schema of the report."""

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
    text = resources.files("crashkit.report").joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
