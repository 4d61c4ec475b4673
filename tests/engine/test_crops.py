"""Random crops: images and labels move together, an epoch is fair, and a seed is enough to repeat it."""

import numpy as np
import pytest
import torch

from nucseg.engine.crops import RandomCrops, hold_images, instance_counts, tiles_of
from nucseg.errors import DataError


def numbered(height, width):
    """An image whose pixels say where they come from, and labels that say the same."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    return image, (1 + rows * 1000 + columns).astype(np.int32)


def held(*sizes, least=32):
    images, labels = zip(*(numbered(*size) for size in sizes))
    return hold_images([f"image-{i}" for i in range(len(sizes))], images, labels, least=least)


def draw(crops, epoch=1, seed=0):
    return list(crops(epoch, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("turn", [False, True])
def test_labels_move_with_the_image(turn):
    for batch in draw(RandomCrops(held((40, 90), (64, 64)), 32, 3, turn)):
        rows, columns = (batch["image"][:, :2] * 255).round().long().unbind(1)
        assert torch.equal(batch["labels"].long(), 1 + rows * 1000 + columns)
        assert batch["image"].shape[1:] == (3, 32, 32) and batch["labels"].dtype == torch.int32


def test_an_unturned_crop_lies_where_its_name_says():
    for batch in draw(RandomCrops(held((50, 60)), 32, 2, turn=False)):
        for name, labels in zip(batch["names"], batch["labels"]):
            row, column = map(int, name.partition("@")[2].split(","))
            assert labels[0, 0] == 1 + row * 1000 + column


def test_all_eight_positions_occur():
    crops = RandomCrops(held(*[(32, 32)] * 200), 32, 200)
    (batch,) = draw(crops)
    assert len({tuple(labels[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()) for labels in batch["labels"]}) == 8


def test_an_image_gives_as_many_crops_as_tiles_cover_it():
    crops = RandomCrops(held((32, 32), (33, 64), (100, 100)), 32, 4)
    names = [name.partition("@")[0] for batch in draw(crops) for name in batch["names"]]
    assert [names.count(f"image-{i}") for i in range(3)] == [1, 4, 16]
    assert [tiles_of(size, 32) for size in ((32, 32), (33, 64), (100, 100))] == [1, 4, 16]
    assert len(crops) == 6 == len(draw(crops))
    few = RandomCrops(held((100, 100)), 32, 4, most=6)
    assert len(few) == 2 and sum(len(batch["names"]) for batch in draw(few)) == 6


def test_every_place_can_be_drawn():
    crops = RandomCrops(held((33, 34), least=32), 32, 1, turn=False)
    found = {name for seed in range(60) for batch in draw(crops, seed=seed) for name in batch["names"]}
    assert found == {f"image-0@{row},{column}" for row in (0, 1) for column in (0, 1, 2)}


def test_a_seed_repeats_an_epoch_and_steps_are_counted():
    crops = RandomCrops(held((64, 64), (50, 80)), 32, 3)
    first, second, other = draw(crops, 2), draw(crops, 2), draw(crops, 2, seed=1)
    assert [batch["names"] for batch in first] == [batch["names"] for batch in second]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, second))
    assert [batch["names"] for batch in first] != [batch["names"] for batch in other]
    assert [batch["step"] for batch in first] == list(range(1, len(crops) + 1)) and first[0]["epoch"] == 2


def test_instances_with_one_pixel_count():
    labels = torch.tensor([[[0, 5, 5], [0, 0, 9]], [[0, 0, 0], [0, 0, 0]], [[1, 1, 1], [1, 1, 1]]], dtype=torch.int32)
    assert instance_counts(labels).tolist() == [2, 0, 1]


def test_bad_input_is_named():
    image, labels = numbered(20, 40)
    with pytest.raises(DataError, match=r"small: 20x40 pixels are less than a crop of 32"):
        hold_images(["small"], [image], [labels], least=32)
    with pytest.raises(DataError, match=r"odd: labels have size \(20, 39\)"):
        hold_images(["odd"], [image], [labels[:, 1:]], least=16)
    with pytest.raises(DataError, match="no training images"):
        hold_images([], [], [], least=16)
    for settings in ((0, 1), (32, 0), (32, 1, True, 0)):
        with pytest.raises(DataError, match="1 or more"):
            RandomCrops(held((64, 64)), *settings)
