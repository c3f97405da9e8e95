"""Segmentation: what is measured and made small, data sets in their formats, networks."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import spa
from experiments.data import load, masked, nuclei
from experiments.data.base import ArraySplit, only
from experiments.data.pictures import restore
from experiments.models import MODELS
from experiments.tasks import TASKS, Interface
from spa.bridge import from_torch
from spa.errors import InputError, SettingError
from spa.training.objective import IGNORED
from tests.experiments.tiny_files import write_voc

TASK = TASKS.get("segmentation")()


@pytest.fixture
def answered():
    """Scores (20, 5, 3, 4), more than a batch of samples, and labels, some of which do not count.

    Class 3 is nowhere answered, and class 4 neither there nor answered.
    """
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((20, 5, 3, 4)).astype(np.float32)
    scores[:, 3:] = -9
    labels = rng.integers(0, 4, (20, 3, 4))
    labels[rng.random(labels.shape) < 0.3] = IGNORED
    labels[7] = IGNORED
    return scores, ArraySplit({"input": np.arange(20)[:, None]}, labels)


def test_iou_is_counted_over_the_whole_split(answered):
    scores, split = answered
    found = TASK.measure(lambda inputs: [scores[inputs["input"][:, 0]]], split)
    said, labels = scores.argmax(1), split.targets
    counted = labels != IGNORED
    each = []
    for label in range(4):
        both = ((said == label) & (labels == label)).sum()
        either = (((said == label) | (labels == label)) & counted).sum()
        each.append(both / either)
    assert each[3] == 0
    assert found["miou"] == pytest.approx(np.mean(each))


def test_the_loss_is_the_mean_over_the_pixels_that_count(answered):
    scores, split = answered
    logs = scores - np.log(np.exp(scores.astype(np.float64)).sum(1, keepdims=True))
    total = 0.0
    for one, labels in zip(logs, split.targets, strict=True):
        losses = [-one[labels[i, j], i, j] for i, j in np.argwhere(labels != IGNORED)]
        total += np.mean(losses) if losses else 0.0
    outputs, targets = (torch.from_numpy(scores).double(),), torch.from_numpy(split.targets)
    assert float(TASK.loss(outputs, targets)) == pytest.approx(total)
    assert torch.equal(TASK.scores(outputs).argmax(-1), TASK.guess(outputs))


def test_what_is_no_map_is_refused(tmp_path):
    write_voc(tmp_path)
    data = load({"name": "voc2012", "size": 32}, tmp_path)
    with pytest.raises(InputError, match=r"'y' is \[21, 16, 16\] after .* needs \[21, 32, 32\]"):
        TASK.fits(Interface("model=m", {}, {"y": (21, 16, 16)}), data)
    with pytest.raises(InputError, match="needs a whole number a pixel, but the targets of dig"):
        TASK.fits(Interface("model=m", {}, {"y": (10,)}), load({"name": "digits"}))


def tif(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "tiff")
    return file.getvalue()


def carried(carry, picture: np.ndarray, mask: np.ndarray):
    folder = "stardist/data/images"
    return carry(nuclei, {f"{folder}/img2d.tif": tif(picture), f"{folder}/mask2d.tif": tif(mask)})


def test_nuclei_are_parted_by_region_and_turned_with_their_labels(carry):
    rng = np.random.default_rng(0)
    # Every column has its own brightness, by which its part is known.
    picture = np.tile(np.arange(512, dtype=np.uint16) // 2, (512, 1))
    mask = rng.integers(0, 3, (512, 512)).astype(np.uint16)
    data = load({"name": "nuclei"}, carried(carry, picture, mask))
    assert (len(data.train), len(data.validation), len(data.test)) == (135, 8, 16)
    assert (data.shape, data.classes, data.task) == ((1, 64, 64), 2, "segmentation")
    columns = {name: set(np.unique(getattr(data, name).images)) for name in ("train", "test")}
    assert columns == {"train": set(range(160)), "test": set(range(192, 256))}
    assert set(np.unique(data.validation.images)) == set(range(160, 192))
    x, y = data.test.take(np.arange(16))
    back = np.concatenate([restore(only(x), data.scale)[i : i + 2, 0] * 255 for i in (0, 2)], 1)
    assert np.allclose(np.concatenate([back[0], back[1]], 1), picture[:128, 384:], atol=1e-3)
    assert np.array_equal(np.concatenate([y[0], y[1]], 1), mask[:64, 384:] > 0)
    few = load({"name": "nuclei", "size": 32, "step": 64}, carried(carry, picture, mask))
    assert (len(few.train), len(few.validation), len(few.test)) == (8 * 5, 16 * 2, 16 * 4)
    with pytest.raises(SettingError, match="64 must be a multiple of it, but it is 24"):
        load({"name": "nuclei", "size": 24}, carried(carry, picture, mask))


def test_pictures_and_labels_are_turned_alike_in_eight_ways():
    labels = np.arange(9).reshape(1, 3, 3).repeat(8, 0)
    x, y = masked.turn(labels[:, None], labels, np.arange(8))
    assert np.array_equal(x[:, 0], y)
    assert len({one.tobytes() for one in y}) == 8
    assert all(sorted(one.ravel()) == list(range(9)) for one in y)
    assert masked.IGNORED == IGNORED


@pytest.mark.parametrize("content", [b"", b"II*\0", tif(np.zeros((8, 8), np.uint8))])
def test_broken_nuclei_are_refused_by_name(content):
    with pytest.raises(InputError, match="here is broken"):
        nuclei.read(content, "here")


def test_voc_is_read_as_it_is_laid_out(tmp_path):
    write_voc(tmp_path)
    data = load({"name": "voc2012", "size": 40, "download": False}, tmp_path, workers=2)
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 1, 3)
    x, y = data.test.take(np.arange(3))
    assert (x["input"].shape, y.shape, y.dtype) == ((3, 3, 40, 40), (3, 40, 40), np.int64)
    # 80x60 pixels became 40x30: the left half is of class 15, the right one is void.
    assert (y[0, :30, :20] == 15).all()
    assert (y[0, :, 20:] == IGNORED).all()
    assert (y[0, 30:] == IGNORED).all()
    bright = restore(x["input"], data.scale)[0, :, :30]
    assert np.allclose(bright[:, :, :19].mean((1, 2)), np.array([200, 100, 0]) / 255, atol=0.03)
    # Labels go with their pixels, wherever a picture is cut and however it is mirrored.
    for seed in range(8):
        x, y = data.train.take(np.arange(9), np.random.default_rng(seed))
        red = restore(x["input"], data.scale)[:, 0]
        assert (red[y == 15] > 0.55).mean() > 0.9
    assert (y == 15).any()


def test_a_missing_or_broken_voc_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"unpack VOCtrainval_11-May-2012.tar in .*data_root"):
        load({"name": "voc2012", "download": False}, tmp_path)
    write_voc(tmp_path)
    folder = tmp_path / "VOCdevkit/VOC2012"
    (folder / "SegmentationClass/val_0.png").write_bytes(b"")
    data = load({"name": "voc2012", "download": False}, tmp_path)
    with pytest.raises(InputError, match=r"cannot read the picture .*val_0.png"):
        data.test.take(np.arange(1))
    (folder / "JPEGImages/train_3.jpg").unlink()
    with pytest.raises(InputError, match=r"VOC 2012 is not whole: there is no .*train_3.jpg"):
        load({"name": "voc2012", "download": False}, tmp_path)


@pytest.mark.parametrize(
    ("name", "groups"), [("unet_small", 17), ("torchvision/lraspp_mobilenet_v3_large", 30)]
)
def test_networks_for_maps_are_pruned(name, groups):
    torch.manual_seed(0)
    proto = from_torch(MODELS.get(name)((3, 32, 32), 5).eval(), (torch.randn(2, 3, 32, 32),))
    sizes = [d.dim_value for d in proto.graph.output[0].type.tensor_type.shape.dim[1:]]
    assert sizes == [5, 32, 32]
    assert len(spa.find_groups(spa.load(proto)).groups) == groups
    pruned = spa.prune(proto, rf=2)
    assert pruned.plan.reached["rf"] >= 2
    assert pruned.proof.checks


def test_a_unet_refuses_what_it_cannot_halve():
    with pytest.raises(InputError, match=r"multiples of 8, but theirs are \(1, 12, 16\)"):
        MODELS.get("unet_small")((1, 12, 16), 2)
