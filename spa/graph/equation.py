"""Reading the equation of an Einsum."""

from __future__ import annotations

import string


def read_equation(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Terms and output of an equation, the ellipsis spelled out in letters of its own.

    Without an arrow the output has the letters that stand once, in order, after the ellipsis.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [c for c in string.ascii_letters if c not in equation]
    longest = max(
        (rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)
         if "..." in term),
        default=0,
    )  # fmt: skip
    dots = "".join(free[:longest])
    spelled = []
    for term, rank in zip(terms, ranks, strict=True):
        count = rank - len(term.replace("...", ""))
        spelled.append(term.replace("...", dots[longest - count :] if count else ""))
    if arrow:
        return spelled, right.replace("...", dots)
    every = "".join(spelled)
    once = sorted(c for c in set(every) if every.count(c) == 1 and c not in dots)
    return spelled, dots + "".join(once)
