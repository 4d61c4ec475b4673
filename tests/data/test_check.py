import numpy as np
import pytest

from nucseg.data import Dataset, Sample, available, check_dataset, from_folder
from nucseg.errors import DataError


def dataset(**samples):
    def read(name):
        if isinstance(samples[name], Exception):
            raise samples[name]
        return samples[name]

    return Dataset("test", tuple(samples), read)


def test_counts_known_by_construction(picture):
    labels = np.zeros((40, 50), int)
    labels[2:6, 2:6] = 1
    labels[6:9, 6:9] = 2  # touches 1 by a corner
    labels[20, 20] = 7  # tiny
    labels[30:34, 30:34] = labels[30:34, 40:44] = 900  # two pieces
    report = check_dataset(dataset(a=Sample("a", picture(1), labels, points=[[1, 1]])))
    (image,) = report.images
    assert (image.nuclei, image.fragments, image.tiny, image.touching, image.points) == (4, 1, 2, 0.5, 1)
    assert (image.height, image.width, image.problem, image.notes) == (40, 50, "", ())
    assert report.kept == ("a",) and report.dropped == {} and report.nuclei == 4


@pytest.mark.parametrize("where", [(slice(5, 9), slice(2, 5)), (slice(2, 5), slice(5, 9)), (slice(5, 9), slice(5, 9)),
                                   (slice(5, 9), slice(0, 2))])
def test_touching_in_every_direction(picture, where):
    labels = np.zeros((40, 50), int)
    labels[2:5, 2:5] = 1
    labels[where] = 2
    assert check_dataset(dataset(a=Sample("a", picture(1), labels))).images[0].touching == 1


def test_a_bad_image_is_reported_and_the_others_kept(picture):
    good = Sample("good", picture(1), np.zeros((40, 50), int))
    report = check_dataset(dataset(bad=DataError("bad: truncated"), odd=RuntimeError(), good=good))
    assert report.dropped == {"bad": "bad: truncated", "odd": "RuntimeError"} and report.kept == ("good",)
    assert report.images[2].notes == ("empty label map: no nuclei",)
    text = str(report)
    assert "DROPPED: bad: truncated" in text and "test: 1 of 3 images can be used, 0 nuclei" in text


def test_suspicious_content_is_noted(picture):
    mask = np.zeros((40, 50), int)
    mask[2:5, 2:5] = mask[20:25, 20:25] = 255
    flat = np.full((40, 50, 3), 9, np.uint8)
    corner = np.stack([np.arange(12), np.arange(12)], axis=1)
    report = check_dataset(dataset(m=Sample("m", picture(1), mask), f=Sample("f", flat),
                                   p=Sample("p", picture(2), points=corner)))
    assert ["foreground mask" in report.images[0].notes[0], "one value" in report.images[1].notes[0],
            "micrometers" in report.images[2].notes[0]] == [True] * 3


def test_a_folder(tmp_path, save, picture):
    folder = tmp_path / "mine"
    save(folder / "images" / "a.png", picture(1)[..., 0])
    save(folder / "images" / "b.png", picture(2))
    save(folder / "labels" / "zz.png", np.zeros((4, 4), np.uint8))
    (folder / "labels" / "a.txt").write_text("?")
    (folder / "images" / "b.png").write_bytes((folder / "images" / "b.png").read_bytes()[:99])
    report = check_dataset(folder)
    assert report.kept == ("a",) and "b.png: cannot be decoded" in report.dropped["b"]
    assert report.images[0].notes == ("gray, repeated over three channels",)
    assert any("zz.png left out: no image of that name" in note for note in report.notes)
    assert any("a.txt left out: not a known kind" in note for note in report.notes)
    assert from_folder(folder).subset(report.kept).ids == ("a",)


def test_names(tmp_path, pack, picture):
    with pytest.raises(DataError, match=r"nothing: neither a folder nor a dataset; known datasets: synthetic-he"):
        check_dataset("nothing")
    with pytest.raises(DataError, match=r"dataset 'tnbc' is not here"):
        check_dataset("tnbc", tmp_path)
    pack(tmp_path / "tnbc.zip", [{"id": "a", "split_qu2019": ""}], {"images/a.png": picture(1)})
    report = check_dataset("tnbc", tmp_path)
    assert report.kept == ("a",) and "is not among those in the catalog" in report.notes[0]


@pytest.mark.data
def test_real_touching_share():
    """0.482 of the validation nuclei of Qu et al. 2019 touch another: counted independently on another copy."""
    if "monuseg" not in available():
        pytest.skip("monuseg is not in the data folder")
    from nucseg.data import load_dataset

    report = check_dataset(load_dataset("monuseg", "val"))
    share = sum(image.touching * image.nuclei for image in report.images) / report.nuclei
    assert report.nuclei == 3065 and share == pytest.approx(0.482, abs=0.02)
