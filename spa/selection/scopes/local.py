"""Local: every group by itself, so that all shrink alike."""

from __future__ import annotations

from spa.selection.scope import Scope, scope

LOCAL = scope(Scope("local", lambda group: group.id, 1.0, "every group alike"))
