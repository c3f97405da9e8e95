"""Global: all channels of a model in one ranking."""

from __future__ import annotations

from spa.selection.scope import Scope, scope

# Uncapped global rankings are known to wipe out whole layers (papers: collapse at RF 4 and up).
CAP = 0.9

GLOBAL = scope(Scope("global", lambda group: 0, CAP, "all channels together"))
