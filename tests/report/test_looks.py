"""What pages share: how indices are written, and colours that can be told apart."""

from __future__ import annotations

import re

import pytest

from spa.report.page import STYLE
from spa.report.ranges import ranges


def test_indices_are_written_as_ranges():
    assert ranges([0, 1, 2, 3, 7]) == "0-3, 7"
    assert ranges([5]) == "5"
    assert ranges([]) == ""
    assert ranges([1, 2, 4, 5]) == "1-2, 4-5"


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(scheme):
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)
    colours = {}
    for block in blocks[: scheme + 1]:
        colours |= dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    for text in ("text", "quiet", "link", "good", "bad", "open"):
        for back in ("back", "panel"):
            assert contrast(colours[text], colours[back]) >= 4.5, (text, back)
    assert contrast(colours["kept"], colours["gone"]) >= 1.3  # hues differ as well
    assert contrast(colours["strong"], colours["back"]) >= 3


def contrast(one: str, other: str) -> float:
    """As WCAG has it: 1 to 21."""
    light = []
    for colour in (one, other):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        light.append(sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return (max(light) + 0.05) / (min(light) + 0.05)
