"""`innersearch env`: what a report of a fault should hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cyclopts import App

from innersearch.cli.results import AsJson, show

app = App(name="env", help_format="plaintext")


@app.default
def env(*, as_json: AsJson = False) -> None:
    """Show versions, extras, keys that are set, processor, memory and GPU: paste it into a report.

    Of keys it is told whether they are set, never what they are. Examples:

        innersearch env
        innersearch env --json

    Args:
        as_json: Print the result as JSON, in place of text and tables.
    """
    from innersearch.view.surroundings import surroundings

    found = surroundings()
    show(found, "\n".join(_lines(found)), as_json=as_json)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    from innersearch.view.surroundings import lacking

    for name in ("python", "innersearch"):
        yield f"{name:<12}{found['versions'][name]}"
    cpu = found["cpu"]
    yield f"{'system':<12}{found['os']}"
    features = " ".join(cpu["features"]) or "–"
    yield f"{'processor':<12}{cpu['name']}, {cpu['processors']} usable, {features}"
    yield f"{'memory':<12}{found['memory_gb']} GB"
    yield f"{'gpu':<12}{'; '.join(found['gpu']) or 'none'}"
    for extra, missing in found["extras"].items():
        yield f"{'extra':<12}{extra}: {lacking(extra, missing)}"
    for name, there in found["keys"].items():
        yield f"{'key':<12}{name}: {'set' if there else 'not set'}"
    for name, value in found["variables"].items():
        yield f"{'variable':<12}{name}={value}"
    for name, version in found["versions"].items():
        if name not in ("python", "innersearch"):
            yield f"{'package':<12}{name} {version}"
