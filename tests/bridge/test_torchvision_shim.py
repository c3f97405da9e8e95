"""torchvision's detection operators, its own or the ones that stand in for them."""

import itertools
import math

import pytest
import torch

from spa.bridge import torchvision_shim
from spa.bridge.torchvision_shim import import_torchvision

ops = import_torchvision().ops
# Both what `import torchvision` gives, and what is given where its library does not load.
NMS = [ops.nms, torchvision_shim._nms]


def roi_align(x, regions, size, scale, samples, aligned):
    return torchvision_shim._roi_align(x, regions, scale, *size, samples, aligned)


ROI_ALIGN = [ops.roi_align, roi_align]


@pytest.mark.parametrize("nms", NMS)
def test_nms_by_hand(nms):
    """Intersections over unions: a and b 1/2, b and c 1/2, a and c 1/5, d alone, e empty."""
    a, b, c = [0.0, 0, 3, 1], [1.0, 0, 4, 1], [2.0, 0, 5, 1]
    boxes = torch.tensor([c, a, [9.0, 9, 9, 9], b, [0.0, 5, 1, 6]])
    scores = torch.tensor([0.7, 0.9, 0.1, 0.8, 0.3])
    assert nms(boxes, scores, 0.49).tolist() == [1, 0, 4, 2]
    assert nms(boxes, scores, 0.5).tolist() == [1, 3, 0, 4, 2]
    assert nms(boxes, scores, 0.1).tolist() == [1, 4, 2]
    # The best one first: without a and c there is room for b.
    assert nms(boxes, scores[[1, 0, 2, 3, 4]] + torch.tensor([0, 0, 0, 1, 0]), 0.49)[0] == 3


@pytest.mark.parametrize("nms", NMS)
def test_nms_of_nothing_and_of_equals(nms):
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    boxes = torch.tensor([[0.0, 0, 1, 1]]).repeat(3, 1)
    assert nms(boxes, torch.tensor([0.1, 0.3, 0.2]), 0.5).tolist() == [1]


@pytest.mark.parametrize("align", ROI_ALIGN)
def test_roi_align_of_a_slope(align):
    """Where pixels rise evenly, the mean of a cell is the value in its middle."""
    x = 10.0 * torch.arange(8.0)[:, None] + torch.arange(8.0)
    regions = torch.tensor([[0.0, 1, 2, 5, 6]])
    found = align(x[None, None], regions, (2, 2), 1.0, 2, False)
    assert torch.allclose(found[0, 0], torch.tensor([[32.0, 34], [52, 54]]))
    half = align(x[None, None], 2 * regions, (2, 2), 0.5, 2, True)
    assert torch.allclose(half, found - 5.5)


def by_definition(x, regions, size, scale, samples, aligned):
    """One sample after the other, as the operator is defined."""
    results = torch.zeros(len(regions), x.shape[1], *size)
    for r, (image, *corners) in enumerate(regions.tolist()):
        x1, y1, x2, y2 = (c * scale - 0.5 * aligned for c in corners)
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        ny = samples if samples > 0 else math.ceil(height / size[0])
        nx = samples if samples > 0 else math.ceil(width / size[1])
        for i, j in itertools.product(*map(range, size)):
            for k, m in itertools.product(range(ny), range(nx)):
                y = y1 + (i + (k + 0.5) / ny) * height / size[0]
                z = x1 + (j + (m + 0.5) / nx) * width / size[1]
                results[r, :, i, j] += bilinear(x[int(image)], y, z) / (ny * nx)
    return results


def bilinear(image, y, x):
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(len(image))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = (1 - u) * image[:, top, left] + u * image[:, top, right]
    lower = (1 - u) * image[:, bottom, left] + u * image[:, bottom, right]
    return (1 - v) * upper + v * lower


REGIONS = torch.tensor(
    [
        [1.0, 3.3, 2.1, 17.9, 9.2],
        [0.0, -6.0, -3.0, 30.0, 28.0],  # over all edges
        [0.0, 7.0, 7.0, 7.2, 7.1],  # less than a pixel
        [1.0, 40.0, 40.0, 50.0, 50.0],  # outside
    ]
)


@pytest.mark.parametrize("align", ROI_ALIGN)
@pytest.mark.parametrize("samples", [2, 3, -1])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align_by_definition(align, samples, aligned):
    x = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    arguments = (x, REGIONS, (3, 2), 0.5, samples, aligned)
    torch.testing.assert_close(align(*arguments), by_definition(*arguments), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("align", ROI_ALIGN)
def test_roi_align_gives_slopes_and_takes_nothing(align):
    x = torch.randn(2, 3, 12, 10, requires_grad=True)
    align(x, REGIONS[:1], (3, 2), 0.5, 2, False).sum().backward()
    assert x.grad[1].abs().sum() > 0
    assert not x.grad[0].any()
    assert align(x, REGIONS[:0], (3, 2), 0.5, 2, False).shape == (0, 3, 3, 2)
