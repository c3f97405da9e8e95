"""Import torchvision even where its compiled operators cannot be loaded.

A torchvision wheel built for CUDA beside a CPU build of torch cannot load its shared library, and
then ``import torchvision`` stops at "operator torchvision::nms does not exist": its Python side
registers fake kernels for operators that were never defined. The schemas alone are enough for the
import; models, transforms and onnx2torch then work. The two operators that detection networks run
are given in plain PyTorch for the CPU, nms and roi_align; the other compiled ones stay away.
A torchvision whose library loads is left alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
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
        _library.impl("nms", _nms, "CPU")  # type: ignore[no-untyped-call]
        # Made of differentiable operators, so that it needs no backward of its own.
        _library.impl(  # type: ignore[no-untyped-call]
            "roi_align", _roi_align, "CompositeImplicitAutograd"
        )
        _vouch_for_operators()
    return importlib.import_module("torchvision")


def _vouch_for_operators() -> None:
    """Let the operators given here pass torchvision's check that its library was loaded."""
    boxes: Any = importlib.import_module("torchvision.ops.boxes")
    align: Any = importlib.import_module("torchvision.ops.roi_align")
    boxes._assert_has_ops = align._assert_has_ops = _no_objection
    align._has_ops = _operators_are_there  # it would compile a kernel of its own


# Functions and no lambdas, as TorchScript compiles them with what calls them.
def _no_objection() -> None:
    return None


def _operators_are_there() -> bool:
    return True


def _nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Number the boxes that no kept box with a higher score overlaps, best ones first.

    boxes: (B, 4) with x1, y1, x2, y2   scores: (B,)
    Two boxes overlap where their intersection is more than ``threshold`` of their union.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])  # (B, B, 2)
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clamp(min=0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    overlaps = common / (areas[:, None] + areas[None] - common) > threshold
    kept = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if kept[i]:
            kept[i + 1 :] &= ~overlaps[i, i + 1 :]
    return order[kept]


def _roi_align(
    x: Tensor, regions: Tensor, scale: float, rows: int, columns: int, samples: int, aligned: bool
) -> Tensor:
    """Average samples in the cells of a grid over each region (arXiv 1703.06870).

    x: (N, C, H, W)   regions: (R, 5) with image, x1, y1, x2, y2   y: (R, C, rows, columns)
    The samples of a cell form a grid and are interpolated linearly along both axes, so that a
    region's cells are its rows' weights @ the image @ its columns' weights.
    """
    low, high = regions[:, 1:3] * scale, regions[:, 3:5] * scale
    length = high - low if aligned else (high - low).clamp(min=1)
    if aligned:
        low = low - 0.5
    height, width = x.shape[2:]
    down = _cell_weights(low[:, 1], length[:, 1], rows, samples, height)
    across = _cell_weights(low[:, 0], length[:, 0], columns, samples, width)
    found = [
        down[r] @ x[image] @ across[r].T for r, image in enumerate(regions[:, 0].int().tolist())
    ]
    return torch.stack(found) if found else x.new_zeros(0, x.shape[1], rows, columns)


def _cell_weights(low: Tensor, length: Tensor, cells: int, samples: int, size: int) -> Tensor:
    """Weigh an axis's pixels in the mean of every cell: (R, cells, size).

    A cell has ``samples`` samples, or one a pixel where that is not positive. One that lies more
    than a pixel outside counts as 0.
    """
    counts = torch.full_like(length, samples) if samples > 0 else (length / cells).ceil()
    counts = counts[:, None, None]
    number = torch.arange(int(counts.max()) if len(counts) else 0)
    within = torch.arange(cells)[:, None] + (number + 0.5) / counts.clamp(min=1)
    at = low[:, None, None] + within * (length / cells)[:, None, None]  # (R, cells, samples)
    counted = (at >= -1) & (at <= size) & (number < counts)
    pixels = torch.arange(size)
    near = (1 - (at.clamp(0, size - 1)[..., None] - pixels).abs()).clamp(min=0)
    return (near * counted[..., None]).sum(2) / counts.clamp(min=1)
