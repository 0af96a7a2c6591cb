"""The block that answers "is it the vendor's module?"."""

from __future__ import annotations

from crashkit.report.columns import labelled
from crashkit.report.parts import Json

_SHOWN = 4


def block(section: Json, document: Json, verbose: int) -> list[str]:
    """Say which out-of-tree modules are on the way to the crash, and which are not."""
    lines = [_on_path(module, verbose) for module in section["on_path"]]
    if section["elsewhere"]:
        names = ", ".join(module["module"] for module in section["elsewhere"])
        lines.append(f"not on the way to this crash: {names} ({_looked_at(section)})")
    lines += [hint for module in section["elsewhere"] if (hint := _hint(module, verbose))]
    lines += _gone(document.get("fault"))
    return labelled("VENDOR", lines)


def _gone(fault: Json | None) -> list[str]:
    if fault is None or fault["diagnosis"]["kind"] != "unmapped-module":
        return []
    last = fault["diagnosis"]["details"].get("last_unloaded")
    return [f"{last} was unloaded: its code or data may be what is pointed at ~"] if last else []


def _on_path(module: Json, verbose: int) -> str:
    words = []
    if module["frames"]:
        words.append("on the stack: " + _some(module["frames"], verbose))
    if (module.get("involved") or ()) and not module["frames"]:
        words.append("part of it: " + _some(module["involved"], verbose))
    if module["probes"]:
        words.append("its kprobe is on " + _some(module["probes"], verbose))
    if module["hooks"] and (verbose or not module["frames"]):
        words.append("its netfilter hooks see such packets: " + _some(module["hooks"], verbose))
    return f"{module['module']} (out-of-tree): {'; '.join(words)}"


def _looked_at(section: Json) -> str:
    # What "not on the way" rests on.
    absent = section["elsewhere"][0].get("absent") or {}
    looked = ["no frame", *(["no kprobe"] if "probes" not in absent else []),
              *(["no netfilter hook"] if "hooks" not in absent else [])]  # fmt: skip
    return ", ".join(looked)


def _hint(module: Json, verbose: int) -> str:
    words = []
    if module["left_over"]:
        words.append("ran on this stack earlier ~: " + _some(module["left_over"], verbose))
    if module["tracers"]:
        words.append("traces functions: " + _some(module["tracers"], verbose))
    return f"{module['module']}: {'; '.join(words)}" if words else ""


def _some(names: list[str], verbose: int) -> str:
    shown = names if verbose else names[:_SHOWN]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if shown != names else "")
