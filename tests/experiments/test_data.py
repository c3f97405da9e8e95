"""Readers on tiny files of the real formats."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from experiments.data import DATASETS, calibration_inputs, idx, load
from experiments.data.base import ArraySplit, batches, only
from experiments.data.pictures import crop_and_flip, resize, restore
from spa.errors import InputError, SettingError
from tests.experiments.tiny_files import write_cifar, write_imagenet


def idx_bytes(values: np.ndarray) -> bytes:
    sizes = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def write_fashion(folder: Path, sizes: dict[str, int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The four files of Fashion-MNIST; returns pictures and labels by split."""
    folder.mkdir(parents=True)
    rng, made = np.random.default_rng(0), {}
    for which, n in sizes.items():
        made[which] = rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        for kind, values in zip(("images-idx3", "labels-idx1"), made[which], strict=True):
            (folder / f"{which}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx_bytes(values)))
    return made


@pytest.fixture
def fashion(tmp_path):
    """A Fashion-MNIST of 12 + 6 pictures, as the Debian package lays it out."""
    write_fashion(tmp_path / "usr/share/datasets/fashion-mnist", {"train": 12, "t10k": 6})
    return tmp_path


def test_digits_are_split_1400_to_397_and_normalised():
    data = load({"name": "digits"})
    assert (len(data.train), len(data.test), data.shape, data.classes) == (1400, 397, (1, 8, 8), 10)
    x, y = taken(data.train, np.arange(1400))
    assert (x.dtype, x.shape, y.dtype) == (np.float32, (1400, 1, 8, 8), np.int64)
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01
    again = load({"name": "digits"})
    assert np.array_equal(taken(again.test, np.arange(397))[0], taken(data.test, np.arange(397))[0])
    seen = {row.tobytes() for row in x}
    assert sum(row.tobytes() in seen for row in taken(data.test, np.arange(397))[0]) <= 2


def test_digits_can_be_enlarged():
    small, large = load({"name": "digits"}), load({"name": "digits", "size": 16})
    assert large.shape == (1, 16, 16)
    assert np.array_equal(large.test.images[:, :, ::2, 1::2], small.test.images)
    with pytest.raises(SettingError, match="multiple of 8"):
        load({"name": "digits", "size": 12})


def test_fashion_mnist_is_read_from_the_debian_package(fashion):
    data = load({"name": "fashion_mnist"}, str(fashion))
    assert (len(data.train), len(data.test), data.shape) == (12, 6, (1, 28, 28))
    raw = np.random.default_rng(0).integers(0, 256, (12, 28, 28))
    x, y = taken(data.train, np.array([3, 1]))
    assert np.allclose(x[:, 0] * 0.353 + 0.286, raw[[3, 1]] / 255, atol=1e-6)
    assert y.tolist() == [3, 1]


def test_a_missing_fashion_mnist_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.data.fashion_mnist._INSIDE", Path("nowhere/fashion-mnist"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt
    with pytest.raises(InputError, match="apt-get download dataset-fashion-mnist && dpkg-deb -x"):
        load({"name": "fashion_mnist"}, str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\x03" + struct.pack(">3I", 2, 2, 2) + bytes(7),
        b"\0\0\x08\x03" + struct.pack(">3I", 2, 2, 2) + bytes(9),
        b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1),
        b"\0\0\x0d\x03" + struct.pack(">3I", 1, 1, 1) + bytes(4),
        b"\0\0\x08\x01" + struct.pack(">I", 1) + bytes(1),
        gzip.compress(b"\0\0\x08\x03" + bytes(40))[:-9],
        b"text, not pictures",
    ],
    ids=["empty", "short", "torn", "long", "huge", "float", "rank", "gzip", "text"],
)
def test_a_broken_idx_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(InputError, match="broken"):
        idx.read(tmp_path / "broken", rank=3)


@pytest.mark.parametrize(
    ("name", "folder", "classes"),
    [("cifar10", "cifar-10-batches-py", 10), ("cifar100", "cifar-100-python", 100)],
)
def test_cifar_is_read_through_torchvision(tmp_path, name, folder, classes):
    write_cifar(tmp_path, folder, classes)
    options = {"name": name, "verify": False, "download": False}
    data = load(options, str(tmp_path))
    assert (len(data.train), len(data.test), data.shape) == (25, 5, (3, 32, 32))
    assert data.classes == classes
    x, y = taken(data.test, np.arange(5))
    assert x.shape == (5, 3, 32, 32)
    assert y.tolist() == [0, 1, 2, 3, 4]


def test_a_missing_or_altered_cifar_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="CIFAR10 cannot be read"):
        load({"name": "cifar10", "download": False}, str(tmp_path))
    write_cifar(tmp_path, "cifar-10-batches-py", 10)  # sums that do not match
    with pytest.raises(InputError, match="CIFAR10 cannot be read"):
        load({"name": "cifar10", "download": False}, str(tmp_path))


@pytest.fixture
def imagenet(tmp_path):
    write_imagenet(tmp_path)
    return tmp_path


def test_an_imagenet_folder(imagenet):
    data = load({"name": "imagenet", "size": 32}, str(imagenet), 2)
    assert (len(data.train), len(data.test), data.shape, data.classes) == (8, 6, (3, 32, 32), 2)
    x, y = taken(data.test, np.array([0, 5]))
    assert (x.shape, x.dtype, y.tolist()) == ((2, 3, 32, 32), np.float32, [0, 1])
    one, two = (taken(data.train, np.arange(8), np.random.default_rng(3))[0] for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, taken(data.train, np.arange(8), np.random.default_rng(4))[0])


def test_an_imagenet_folder_that_is_not_there_or_broken(tmp_path, imagenet):
    with pytest.raises(InputError, match="no class folders"):
        load({"name": "imagenet"}, str(tmp_path / "nowhere"))
    (imagenet / "imagenet/val/n01/0.jpeg").write_bytes(b"not a picture")
    data = load({"name": "imagenet", "size": 32}, str(imagenet))
    with pytest.raises(InputError, match=r"0\.jpeg"):
        taken(data.test, np.arange(len(data.test)))


def test_an_unknown_data_set_offers_near_matches():
    with pytest.raises(SettingError, match="did you mean digits"):
        DATASETS.get("digit")


def taken(split, index, rng=None):
    """The pictures and the labels of samples."""
    inputs, labels = split.take(index, rng)
    return only(inputs), labels


def split_of(n: int) -> ArraySplit:
    images = np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1)
    return ArraySplit({"input": images}, np.arange(n))


def test_batches_see_every_sample_once_and_never_train_on_a_single_one():
    for n in (7, 8, 9, 1):
        shuffled = [y.tolist() for _, y in batches(split_of(n), 4, np.random.default_rng(0))]
        assert sorted(sum(shuffled, [])) == list(range(n))
        assert n == 1 or min(map(len, shuffled)) > 1
        in_order = [y.tolist() for _, y in batches(split_of(n), 4)]
        assert sum(in_order, []) == list(range(n))


def test_crop_and_flip_moves_pixels_and_keeps_their_values():
    x = np.random.default_rng(0).random((64, 2, 6, 6), np.float32) + 1
    y = crop_and_flip(x, np.random.default_rng(1), pad=2)
    assert y.shape == x.shape
    for before, after in zip(x, y, strict=True):
        left = set(after[after > 0].tolist())
        assert left <= set(before.ravel().tolist())
        assert len(left) >= 2 * 16  # at most two rows and two columns leave


def test_resize_up_repeats_and_down_averages():
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert np.array_equal(resize(x, 2, 2)[0, 0], [[2.5, 4.5], [10.5, 12.5]])
    assert np.array_equal(resize(resize(x, 8, 8), 4, 4), x)


@pytest.mark.parametrize("kind", ["bn", "noise", "uniform"])
def test_data_free_calibration_is_passed_on_by_name(kind):
    assert calibration_inputs(kind, load({"name": "digits"}), 8, 0, None) == kind


def test_calibration_inputs_from_data(fashion):
    digits = load({"name": "digits"})
    mine = only(calibration_inputs("id", digits, 16, -1, None))
    train = {row.tobytes() for row in taken(digits.train, np.arange(1400))[0]}
    assert all(row.tobytes() in train for row in mine)
    photos = only(calibration_inputs("ood", digits, 16, 0, None))
    assert (photos.shape, photos.dtype) == ((16, 1, 8, 8), np.float32)
    assert np.array_equal(photos, only(calibration_inputs("ood", digits, 16, 0, None)))
    other = load({"name": "digits", "ood": "fashion_mnist"})
    clothes = only(calibration_inputs("ood", other, 16, 0, str(fashion)))
    assert clothes.shape == (12, 1, 8, 8)
    in_0_1 = restore(clothes, other.scale)
    assert in_0_1.min() > -1e-5
    assert in_0_1.max() < 1 + 1e-5
