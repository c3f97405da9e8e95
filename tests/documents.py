"""The pages that readers meet: README and docs, and what is in them to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
# What shows commands and Python.
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
# What has links: these pages, and what they lead to.
LINKED = (*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md",
          *sorted((ROOT / "results" / "tables").glob("*.md")))  # fmt: skip
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    """As a reader would say it."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """What stands between fences: ``python``, ``bash``, or what a command prints (no kind)."""

    page: Path
    kind: str
    text: str

    @property
    def commands(self) -> list[str]:
        """A command each; a line with a backslash at its end goes on."""
        if self.kind == "bash":
            return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]
        return re.findall(r"^\$ (.*)$", self.text, re.MULTILINE)


def blocks(page: Path, *kinds: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    for kind, text in _FENCE.findall(page.read_text()):
        if not kinds or kind in kinds:
            yield Block(page, kind, text)


def inline(page: Path) -> list[str]:
    """Code between backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", page.read_text()))
