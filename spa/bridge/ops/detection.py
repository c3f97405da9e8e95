"""What detectors do with boxes: suppress those that overlap better ones, cut regions out."""

from __future__ import annotations

import torch
from torch import Tensor

from spa.bridge.registry import Function, OpNode, converter
from spa.bridge.torchvision_shim import import_torchvision

ops = import_torchvision().ops


@converter("NonMaxSuppression", host=(2, 3, 4))
def non_max_suppression(node: OpNode) -> Function:
    """boxes: (N, B, 4)   scores: (N, C, B)   y: (kept, 3) with image, class and box."""
    centred = bool(node.attrs.get("center_point_box", 0))

    def run(
        boxes: Tensor,
        scores: Tensor,
        most: Tensor | None = None,
        overlap: Tensor | None = None,
        least: Tensor | None = None,
    ) -> Tensor:
        limit = 0 if most is None else int(most)
        found = []
        for image in range(scores.shape[0]):
            corners = _corners(boxes[image], centred)
            for kind in range(scores.shape[1]):
                given = scores[image, kind]
                some = torch.arange(len(given), device=given.device)
                if least is not None:
                    some = some[given > least.item()]
                threshold = 0.0 if overlap is None else float(overlap)
                kept = some[ops.nms(corners[some], given[some], threshold)][:limit]
                place = kept.new_tensor([image, kind]).expand(len(kept), 2)
                found.append(torch.cat([place, kept[:, None]], 1))
        return torch.cat(found) if found else torch.zeros(0, 3, dtype=torch.int64)

    return run


def _corners(boxes: Tensor, centred: bool) -> Tensor:
    """Lowest corner, then highest, of boxes given by two corners or by centre and size."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if centred:
        return torch.cat([first - second / 2, first + second / 2], 1)
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], 1)


@converter("RoiAlign")
def roi_align(node: OpNode) -> Function:
    """x: (N, C, H, W)   regions: (R, 4)   images: (R,)   y: (R, C, rows, columns)."""
    if node.attrs.get("mode", "avg") != "avg":
        raise ValueError("mode max is not known")
    # What the attribute says that opset 16 added; before that, regions began at a pixel's corner.
    way = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    aligned = node.version >= 16 and way == "half_pixel"
    sizes = node.attrs.get("output_height", 1), node.attrs.get("output_width", 1)
    scale, samples = node.attrs.get("spatial_scale", 1.0), node.attrs.get("sampling_ratio", 0)

    def run(x: Tensor, regions: Tensor, images: Tensor) -> Tensor:
        rois = torch.cat([images[:, None].to(regions.dtype), regions], 1)
        found: Tensor = ops.roi_align(x, rois, sizes, scale, samples, aligned)
        return found

    return run
