"""Recipes as documents: ``crashkit.recipes/1`` and ``crashkit.recipe/1``."""

from __future__ import annotations

from collections.abc import Sequence

from crashkit.recipe import Source
from crashkit.recipe.flaws import Flaw
from crashkit.report.columns import WIDTH, labelled, wrap
from crashkit.report.document import envelope
from crashkit.report.escape import safe_tree
from crashkit.report.finding_part import build_fix
from crashkit.report.parts import Json, Part

RECIPES = "crashkit.recipes/1"
RECIPE = "crashkit.recipe/1"
LINT = "crashkit.lint/1"


def build_recipes(recipes: Sequence[Source], errors: Sequence[str]) -> Json:
    """Build the list document."""
    entries = [
        {"id": r.meta.id, "name": r.name, "claim": r.meta.claim, "path": str(r.path)}
        for r in recipes
    ]
    return {**envelope(RECIPES), "recipes": entries, "errors": list(errors)}


def build_recipe(recipe: Source) -> Json:
    """Build the document of one recipe."""
    meta = recipe.meta
    part = Part()
    part.put("id", meta.id)
    part.put("name", recipe.name)
    part.put_plain("path", str(recipe.path))
    part.put("claim", meta.claim)
    part.put("doc", recipe.doc)
    for key in ("references", "matches", "rejects", "classes", "told_apart_from", "history"):
        part.put(key, list(getattr(meta, key)))
    part.put("fix", None if meta.fix is None else build_fix(meta.fix))
    part.put("advice", meta.advice)
    return {**envelope(RECIPE), **part.done()}


def render_recipes(document: Json) -> str:
    """Render the list: id and claim."""
    document = safe_tree(document)
    lines: list[str] = []
    for entry in document["recipes"]:
        lines += [entry["id"], *wrap(entry["claim"], WIDTH, "    ")]
    lines += [f"ERROR  {error}" for error in document["errors"]]
    return "\n".join(lines or ["no recipes"]) + "\n"


def render_recipe(document: Json) -> str:
    """Render one recipe: docstring, fix, references, samples."""
    document = safe_tree({**document, "doc": document["doc"].split("\n")})
    lines = [f"{document['id']}   ({document['name']})", ""]
    lines += ["\n".join(document["doc"]).strip(), "", *labelled("CLAIM", [document["claim"]])]
    if fix := document["fix"]:
        stable = f"; stable {' '.join(fix['stable'])}" if fix["stable"] else ""
        named = f'{fix["upstream"]} "{fix["title"]}", {fix["release"]}{stable}'
        lines += labelled("FIX", [named, *fix["distributions"]])
    if document["advice"]:
        lines += labelled("NOW", [document["advice"]])
    for label, key in (("NOT", "told_apart_from"), ("SEE", "references")):
        lines += labelled(label, document[key]) if document[key] else []
    for label, key in (("MATCHES", "matches"), ("REJECTS", "rejects")):
        if document[key]:
            lines += wrap(", ".join(document[key]), WIDTH, " " * 8, f"{label} ")
    return "\n".join(lines) + "\n"


def build_lint(count: int, flaws: Sequence[Flaw]) -> Json:
    """Build the document of a linter's run over ``count`` files."""
    entries = [{"path": flaw.path, "line": flaw.line, "message": flaw.message} for flaw in flaws]
    return {**envelope(LINT), "files": count, "findings": entries}


def render_lint(document: Json) -> str:
    """Render it as compilers print errors: ``file:line: message``."""
    document = safe_tree(document)
    lines = [f"{f['path']}:{f['line']}: {f['message']}" for f in document["findings"]]
    files = {found["path"] for found in document["findings"]}
    count = document["files"]
    recipes = f"{count} recipe{'' if count == 1 else 's'}"
    findings = "1 finding" if len(lines) == 1 else f"{len(lines)} findings"
    told = f"{findings} in {len(files)} of {recipes}" if lines else f"{recipes}: clean"
    return "\n".join([*lines, told]) + "\n"
