"""Import torchvision even where its compiled operators cannot be loaded.

A torchvision wheel built for CUDA beside a CPU build of torch cannot load its shared library, and
then ``import torchvision`` stops at "operator torchvision::nms does not exist": its Python side
registers fake kernels for operators that were never defined. The schemas alone are enough for the
import; models, transforms and onnx2torch then work, only the compiled operators stay away.
A torchvision whose library loads is left alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# torch forgets the schemas of a Library that is collected, so it is held here.
_library: torch.library.Library | None = None


def _operators_load() -> bool:
    """Load torchvision's compiled operators, as torchvision itself would do on import."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # not installed: the import below says so in its own words
    for library in sorted(Path(spec.origin).parent.glob("_C*")):
        if library.suffix not in {".so", ".pyd", ".dylib"}:
            continue
        try:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except (ImportError, OSError):
            continue
        return True
    return False


def import_torchvision() -> ModuleType:
    """Return the torchvision module, imported with missing operators declared first.

    Raises:
        ImportError: torchvision is not installed.
    """
    global _library
    if "torchvision" not in sys.modules and _library is None and not _operators_load():
        _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            _library.define(schema)  # type: ignore[no-untyped-call]
    return importlib.import_module("torchvision")
