"""README is short, every page of docs is named in it, and links lead somewhere."""

from __future__ import annotations

import re

import pytest

from tests.documents import LINKED, PAGES, README, ROOT, name

LINKS = sorted(
    {(page, link) for page in LINKED for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
     if "://" not in link and not (page.parent.name == "tables" and "/records/" in link)}
)  # fmt: skip


def _anchors(text: str) -> set[str]:
    """What GitHub makes of headings."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 200


def test_readme_leads_to_every_page():
    text = README.read_text()
    for page in (*PAGES[1:], ROOT / "CONTRIBUTING.md", ROOT / "docs" / "check.py"):
        assert f"]({name(page)})" in text


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{name(p)}:{link}" for p, link in LINKS])
def test_links_lead_somewhere(page, link):
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    assert target.exists()
    assert target.resolve().is_relative_to(ROOT)
    if anchor:
        assert anchor in _anchors(target.read_text())


def test_records_behind_tables_are_there():
    found = [
        (page, link)
        for page in LINKED
        for link in re.findall(r"\]\((\.\./records/[^)\s]+)\)", page.read_text())
    ]
    assert found
    assert not [link for page, link in found if not (page.parent / link).exists()]
