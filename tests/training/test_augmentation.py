"""Augmented images, against loops over single images and pixels."""

import dataclasses

import numpy as np
import pytest
import torch
from cells import make_cell

from initbench.data.augmentation import augmented, misfit
from initbench.errors import UserError
from initbench.random import streams
from initbench.spec import grid
from initbench.training import plain
from initbench.training.plain import Loop, PlainData


def by_hand(image, augment, word):
    """One image `[height, width, channels]`: padded, cut out and mirrored, one after the other."""
    row, column, mirrored = (word & 0x1FFFFF) * 9 >> 21, (word >> 21 & 0x1FFFFF) * 9 >> 21, word >> 63
    height, width, _ = image.shape
    if "crop" in augment:
        image = np.pad(image, ((4, 4), (4, 4), (0, 0)))[row : row + height, column : column + width]
    if "flip" in augment and mirrored:
        image = image[:, ::-1]
    return image


@pytest.mark.parametrize("augment", ["none", "crop", "flip", "crop_flip"])
@pytest.mark.parametrize(("shape", "kind"), [((28, 28, 1), np.uint8), ((6, 5, 3), np.float32)])
def test_images_are_changed_as_torchvision_changes_them(augment, shape, kind):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50, *shape)).astype(kind)
    words = streams.augmentation(3, 1, 50)
    changed = augmented(images.reshape(50, -1), shape, augment, words)
    assert changed.dtype == kind
    for image, other, word in zip(images, changed, words.tolist(), strict=True):
        np.testing.assert_array_equal(other.reshape(shape), by_hand(image, augment, word))


def test_each_shift_and_side_is_as_likely_as_the_others():
    """Of one bright pixel in the middle: 81 places and, mirrored, as many, each in one of 81 images."""
    n = 40_500
    images = np.zeros((n, 9 * 9), np.uint8)
    images[:, 40] = 1
    words = streams.augmentation(0, 1, n)
    places = augmented(images, (9, 9, 1), "crop", words).argmax(1)
    assert np.bincount(places, minlength=81) == pytest.approx(500, abs=5 * np.sqrt(500))
    sides = np.zeros((n, 2), np.uint8)
    sides[:, 0] = 1
    assert augmented(sides, (1, 2, 1), "flip", words)[:, 1].mean() == pytest.approx(0.5, abs=0.0125)


def test_a_cell_trains_on_its_augmented_images_and_is_evaluated_on_the_others(small, monkeypatch):
    cell = make_cell(augment="crop_flip", standardize=True, train_size=256, batch_size=64, epochs=2, hidden="16")
    assert not cell.is_fused
    data = PlainData(small, standardize=True)
    seen, step = [], plain.descend
    monkeypatch.setattr(plain, "descend", lambda *arguments: seen.append(arguments[3].clone()) or step(*arguments))
    epochs = list(plain.train(cell, data))
    mean, deviation = (values[0] for values in data.reading[1:])
    for epoch in (1, 2):
        order, words = streams.order(cell.seed, epoch, 256), streams.augmentation(cell.seed, epoch, 256)
        images = small.train_images[small.validation_size :][order].reshape(-1, 28, 28, 1)
        by_image = [by_hand(*pair) for pair in zip(images, ["crop_flip"] * 256, words.tolist(), strict=True)]
        expected = (np.array(by_image).reshape(256, -1) / 255 - mean) / deviation
        np.testing.assert_allclose(torch.cat(seen[4 * epoch - 4 : 4 * epoch]), expected, rtol=1e-4, atol=1e-5)
    plain_start = next(plain.train(cell._replace(augment="none"), data))
    assert epochs[0].test_loss == plain_start.test_loss


def test_initializers_and_batch_sizes_are_given_the_same_augmented_images(small):
    def images(**settings):
        loop = Loop(make_cell(augment="crop", train_size=256, hidden="8", **settings), PlainData(small))
        return np.concatenate(loop._words)

    first = images(batch_size=64)
    assert (images(batch_size=32, initializer="lsuv") == first).all()
    assert (images(batch_size=100) == first[:200]).all()
    assert (images(batch_size=64, seed=1) != first).all()


@pytest.mark.parametrize(
    ("augment", "shape", "why"),
    [
        ("crop", (1, 1, 784), "no height and width"),
        ("flip", (1, 1, 784), "no height and width"),
        ("crop_flip", (4, 196, 1), "4 × 196 pixels are too small"),
        ("flip", (784, 1, 1), "one pixel wide"),
    ],
)
def test_images_that_cannot_be_augmented_are_refused_before_the_run(augment, shape, why, monkeypatch):
    assert why in misfit(augment, shape)
    assert misfit("none", shape) == ""
    source = dataclasses.replace(grid.datasets.find("mnist"), height=shape[0], width=shape[1], channels=shape[2])
    monkeypatch.setattr(grid.datasets, "find", lambda value: source)
    text = f"[grid]\ninitializer = ['zeros']\n[training]\naugment = '{augment}'"
    with pytest.raises(UserError, match=f"augment = '{augment}' with dataset = 'mnist' is not allowed: .*{why}"):
        grid.parse(text)


def test_augmented_cells_give_the_same_bits_each_time(small):
    cell = make_cell(augment="crop_flip", train_size=256, hidden="8")
    assert plain.repeats(cell, PlainData(small))
