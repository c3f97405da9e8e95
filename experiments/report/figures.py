"""An experiment's figures as SVG inside the page.

Matplotlib writes each as a file of its own, so the ids of two of them clash, and a rule of style
in one would hold for the whole page.
"""

from __future__ import annotations

import re
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.results.schema import Result
from spa.errors import MissingExtra

TITLES = {
    "accuracy_over_rf": "Test accuracy over RF, one panel for each model and time",
    "widths": "Channels of each group, dense and pruned",
    "latency_over_macs": "Latency over multiply-accumulates",
    "prune_time_over_params": "Time to prune over the number of parameters",
}

# Matplotlib has a rule for every element of the document; inherited, it stays inside.
_INHERITED = "stroke-linejoin: round; stroke-linecap: butt"


class Figure(NamedTuple):
    """A figure's name, what it shows, and its SVG element."""

    name: str
    title: str
    svg: str


def figures(results: Sequence[Result]) -> list[Figure]:
    """Draw what the results have data for.

    Raises:
        MissingExtra: Matplotlib is not installed.
    """
    if not results:
        return []
    with tempfile.TemporaryDirectory() as folder:
        try:
            from experiments.figures import draw

            drawn = draw(results, Path(folder) / "figure")
        except ImportError as error:
            raise MissingExtra("matplotlib", "experiments", "drawing figures") from error
        made = []
        for name, path in drawn.items():
            title = TITLES.get(name, name.replace("_", " ").capitalize())
            made.append(Figure(name, title, inline(path.read_text("utf-8"), name, title)))
        return made


def inline(svg: str, name: str, title: str) -> str:
    """Turn an SVG file into an element of an HTML page.

    Args:
        svg: the file's text, by Matplotlib.
        name: put before every id, so that two figures do not share one.
        title: what it shows, for those who do not see it.
    """
    root = ET.fromstring(svg)
    kept = {"viewBox": root.get("viewBox", ""), "class": "figure", "role": "img"}
    kept["aria-labelledby"] = f"{name}-title"
    # As wide as drawn where there is room, so that letters have one size in all figures.
    kept |= {"width": root.get("width", "100%"), "style": _INHERITED}
    for parent in list(root.iter()):
        for child in list(parent):
            if _plain(child.tag) in ("metadata", "style", "title"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _plain(element.tag)
        content = {_plain(key): value for key, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update({key: _own(key, value, name) for key, value in content.items()})
    root.attrib.clear()
    root.attrib.update(kept)
    heading = ET.Element("title", {"id": f"{name}-title"})
    heading.text = title
    root.insert(0, heading)
    return ET.tostring(root, encoding="unicode")


def _plain(name: str) -> str:
    """Drop the namespace: HTML knows SVG by its element."""
    return name.rpartition("}")[2]


def _own(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key == "href":
        return re.sub(r"^#", f"#{prefix}-", value)
    return re.sub(r"url\(#", f"url(#{prefix}-", value)
