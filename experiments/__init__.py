"""The harness: launches runs, records them, and turns the records into tables."""

import sys
from pathlib import Path

# Hydra takes plugins only from a namespace of a fixed name, hydra_plugins, found on the path.
_PLUGINS = str(Path(__file__).resolve().parent / "sweeps" / "plugins")
if _PLUGINS not in sys.path:
    sys.path.append(_PLUGINS)
