"""Texts that come from files and names, made fit for one line of a terminal or a table."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Write out what is no printable character: line ends, escape codes, halves of characters.

    Example:
        >>> printable("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text
    )
