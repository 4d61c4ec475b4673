import numpy as np
import pytest

from nucseg.data import from_folder
from nucseg.errors import DataError


@pytest.fixture
def folder(tmp_path, save, picture):
    labels = np.zeros((40, 50), np.uint16)
    labels[3:9, 3:9] = 5
    for number, name in enumerate(("b", "a")):
        save(tmp_path / "mine" / "images" / f"{name}.png", picture(number))
        save(tmp_path / "mine" / "labels" / f"{name}.png", labels * (number + 1))
    (tmp_path / "mine" / "points").mkdir()
    (tmp_path / "mine" / "points" / "a.csv").write_text("row,column\n5,5\n")
    (tmp_path / "mine" / "groups.csv").write_text("image,group\na.png,patient 1\nb,patient 2\n")
    return tmp_path / "mine"


def test_images_labels_points_and_groups(folder, picture):
    dataset = from_folder(folder)
    assert dataset.name == "mine" and dataset.ids == ("a", "b")
    assert dataset.groups == {"a": "patient 1", "b": "patient 2"}
    first, second = dataset
    assert np.array_equal(first.image, picture(1)) and np.array_equal(second.image, picture(0))
    assert first.labels.max() == 10 and first.points.tolist() == [[5, 5]] and second.points is None
    assert first.group == "patient 1" and first.meta["path"].endswith("a.png")


def test_images_directly_in_the_folder(tmp_path, save, picture):
    save(tmp_path / "x.png", picture(1))
    dataset = from_folder(tmp_path)
    assert dataset.ids == ("x",) and dataset[0].labels is None and dataset[0].points is None


def test_checksum_follows_the_content(folder, save, picture):
    before = from_folder(folder).checksum
    assert before == from_folder(folder).checksum and len(before) == 64
    save(folder / "images" / "a.png", picture(9))
    assert from_folder(folder).checksum != before


def test_labels_of_another_size(folder, save):
    save(folder / "labels" / "a.png", np.zeros((4, 5), np.uint8))
    with pytest.raises(DataError, match=r"labels/a.png: has size \(4, 5\), its image \(40, 50\)"):
        from_folder(folder)["a"]


def test_points_outside(folder):
    (folder / "points" / "a.csv").write_text("row,column\n5,50\n")
    with pytest.raises(DataError, match=r"points/a.csv: 1 of 1 points lie outside"):
        from_folder(folder)["a"]


def test_pixel_size_reaches_the_points(folder):
    (folder / "points" / "a.csv").write_text("x (µm),y (µm)\n2,1\n")
    assert from_folder(folder, pixel_size=0.5)["a"].points.tolist() == [[2, 4]]


def test_two_files_of_one_name(folder, save, picture):
    save(folder / "images" / "a.tif", picture(1))
    with pytest.raises(DataError, match=r"two image files of one name: a.png, a.tif"):
        from_folder(folder)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match=r"gone: no such folder"):
        from_folder(tmp_path / "gone")
    with pytest.raises(DataError, match=r"holds no images"):
        from_folder(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("image,patient\na,1\n", "must name image and group"),
                                               ("image,group\nzz,1\n", "not there: 'zz'")])
def test_bad_groups(folder, text, message):
    (folder / "groups.csv").write_text(text)
    with pytest.raises(DataError, match=rf"groups.csv: .*{message}"):
        from_folder(folder)
