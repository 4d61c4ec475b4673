"""Tiny releases in the official layouts: what comes back from the packed archive is what was put in."""

import hashlib
import os
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.io import savemat

from nucseg.data import load_dataset
from nucseg.data.official import monuseg, tissue
from nucseg.data.prepare import prepare
from nucseg.errors import DataError, UnknownNameError

KUMAR, ADDED = "TCGA-18-5592-01Z-00-DX1", "TCGA-BC-A217-01Z-00-DX1"


def aperio(*outlines):
    regions = "".join(
        "<Region Id='1'><Vertices>" + "".join(f"<Vertex X='{x}' Y='{y}' Z='0'/>" for x, y in outline)
        + "</Vertices></Region>" for outline in outlines)
    return f"<?xml version='1.0'?><Annotations><Annotation><Regions>{regions}</Regions></Annotation></Annotations>"


def square(left, top, side):
    """An outline that, moved by about one pixel, holds the pixels left .. left + side - 1."""
    return [(left + 0.7, top + 0.7), (left + side + 0.3, top + 0.7), (left + side + 0.3, top + side + 0.3),
            (left + 0.7, top + side + 0.3)]


@pytest.fixture
def monuseg_release(tmp_path, picture):
    release = tmp_path / "MoNuSeg 2018 Training Data"
    for number, name in enumerate((KUMAR, ADDED)):
        (release / "Tissue Images").mkdir(parents=True, exist_ok=True)
        (release / "Annotations").mkdir(exist_ok=True)
        tifffile.imwrite(release / "Tissue Images" / f"{name}.tif", picture(number))
        text = aperio(square(5, 8, 4), square(7, 8, 3), square(20, 20, 2), square(19, 19, 6), square(60, 60, 4))
        (release / "Annotations" / f"{name}.xml").write_text(text)
    return release


def test_monuseg(monuseg_release, tmp_path, picture):
    prepare("monuseg", monuseg_release, tmp_path / "data", progress=False)
    dataset = load_dataset("monuseg", "train", tmp_path / "data", scheme="monuseg2018")
    assert dataset.ids == (KUMAR, ADDED)
    expected = np.zeros((40, 50), int)
    expected[8:12, 5:9] = 1
    expected[8:11, 7:10] = 2  # drawn later, over the first
    expected[19:25, 19:25] = 3  # hides the small third; the fifth lies outside
    for number, sample in enumerate(dataset):
        assert np.array_equal(sample.image, picture(number)) and np.array_equal(sample.labels, expected)
        assert sample.meta["n_polygons_in_xml"] == 5 and sample.meta["n_hidden_polygons"] == 2
        assert sample.meta["n_instances"] == 3 and sample.meta["min_area_px"] == 9
    assert dataset[0].meta["organ"] == "Liver" and dataset[0].group == "TCGA-18-5592"
    assert load_dataset("monuseg", "train", tmp_path / "data").ids == (KUMAR,)


def test_the_same_release_gives_the_same_archive(monuseg_release, tmp_path):
    digests = set()
    for target in ("one", "two"):
        path = prepare("monuseg", monuseg_release, tmp_path / target, progress=False)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_release_in_a_zip(monuseg_release, tmp_path, picture):
    with zipfile.ZipFile(tmp_path / "MoNuSeg.zip", "w") as archive:
        for file in monuseg_release.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path))
    prepare("monuseg", tmp_path / "MoNuSeg.zip", tmp_path / "data", progress=False)
    assert np.array_equal(load_dataset("monuseg", root=tmp_path / "data")[KUMAR].image, picture(0))


def test_rasterize_shift_and_order():
    one = [np.array([(3, 3), (6, 3), (6, 6), (3, 6)], float)]
    labels, hidden = monuseg.rasterize(one, (10, 10), shift=0)
    moved, _ = monuseg.rasterize(one, (10, 10), shift=-1)
    assert hidden == 0 and np.array_equal(np.roll(labels, (-1, -1), (0, 1)), moved)
    assert monuseg.rasterize(one * 2, (10, 10), shift=0)[1] == 1
    assert monuseg.rasterize([], (4, 4))[0].shape == (4, 4)


@pytest.mark.parametrize("text", [
    "<Annotations><Region>", "<A><Region><Vertex X='1'/></Region></A>", "<A><Region><Vertex X='a' Y='1'/></Region></A>",
    "<!DOCTYPE x [<!ENTITY a 'aaa'>]><A>&a;</A>", "",
])
def test_bad_xml_is_named(monuseg_release, tmp_path, text):
    (monuseg_release / "Annotations" / f"{KUMAR}.xml").write_text(text)
    with pytest.raises(DataError, match=rf"{KUMAR}.xml: not a readable Aperio"):
        prepare("monuseg", monuseg_release, tmp_path / "data", progress=False)
    assert list((tmp_path / "data").iterdir()) == [], "nothing half-written is left"


def test_monuseg_without_image(monuseg_release, tmp_path):
    (monuseg_release / "Tissue Images" / f"{KUMAR}.tif").unlink()
    with pytest.raises(DataError, match=rf"{KUMAR}.xml: has no image"):
        prepare("monuseg", monuseg_release, tmp_path / "data", progress=False)


def test_tnbc(tmp_path, save, picture):
    release = tmp_path / "TNBC_NucleiSegmentation"
    mask = np.zeros((40, 50), np.uint8)
    mask[2, 2] = mask[3, 3] = 255  # touch by a corner: one nucleus
    mask[10:14, 10:14] = 255
    for patient, number in ((1, 1), (7, 1), (11, 2)):
        name = f"{patient:02d}_{number}.png"
        save(release / f"Slide_{patient:02d}" / name, np.dstack([picture(patient), np.full((40, 50), 255, np.uint8)]))
        save(release / f"GT_{patient:02d}" / name, mask)
    prepare("tnbc", release, tmp_path / "data", progress=False)
    for split, name, patient in (("train", "01_1", "1"), ("val", "07_1", "7"), ("test", "11_2", "11")):
        dataset = load_dataset("tnbc", split, tmp_path / "data")
        assert dataset.ids == (name,) and dataset.groups[name] == patient
        assert np.array_equal(dataset[0].image, picture(int(patient)))
        assert np.array_equal(dataset[0].labels > 0, mask > 0) and dataset[0].labels.max() == 2
        assert dataset[0].labels[2, 2] == dataset[0].labels[3, 3]
    (release / "GT_07" / "07_1.png").unlink()
    with pytest.raises(DataError, match=r"Slide_07/07_1.png: has no mask"):
        prepare("tnbc", release, tmp_path / "data", progress=False)


def test_cryonuseg_reads_the_first_annotator(tmp_path, picture):
    first = np.zeros((40, 50), np.uint16)
    first[3:9, 3:9] = 7
    first[20:22, 20:30] = 900
    name = "Human_AdrenalGland_01"
    annotator, other = "Annotator 1 (biologist)", "Annotator 2 (bioinformatician)"
    for folder, array in (
        ("tissue images", picture(1)), (f"{annotator}/label masks modify", first),
        (f"{annotator}/label masks", first * 2), (f"{other}/{other}/label masks modify", first * 0),
    ):
        (tmp_path / "release" / folder).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "release" / folder / f"{name}.tif", array)
    prepare("cryonuseg", tmp_path / "release", tmp_path / "data", progress=False)
    sample = load_dataset("cryonuseg", root=tmp_path / "data")[name]
    assert np.array_equal(sample.image, picture(1)) and sample.meta["organ"] == "AdrenalGland"
    assert np.array_equal(sample.labels, np.select([first == 7, first == 900], [1, 2]))


def test_consep(tmp_path, save, picture):
    inst = np.zeros((40, 50))
    inst[5:9, 5:9], inst[30:33, 40:44] = 3, 12
    for part, number in (("Train", 2), ("Train", 10), ("Test", 1)):
        folder = tmp_path / "CoNSeP" / part
        save(folder / "Images" / f"{part.lower()}_{number}.png", picture(number))
        (folder / "Labels").mkdir(exist_ok=True)
        content = {"inst_map": inst, "type_map": inst * 0}
        savemat(folder / "Labels" / f"{part.lower()}_{number}.mat", content)
    prepare("consep", tmp_path / "CoNSeP", tmp_path / "data", progress=False)
    assert load_dataset("consep", "train", tmp_path / "data").ids == ("train_2", "train_10")
    sample = load_dataset("consep", "test", tmp_path / "data")["test_1"]
    assert np.array_equal(sample.image, picture(1))
    assert np.array_equal(sample.labels, np.select([inst == 3, inst == 12], [1, 2]))
    label_file = tmp_path / "CoNSeP" / "Test" / "Labels" / "test_1.mat"
    for content, message in (({"other": inst}, "no variable inst_map"), ({"inst_map": inst + 0.5}, "whole numbers")):
        savemat(label_file, content)
        with pytest.raises(DataError, match=rf"test_1.mat: .*{message}"):
            prepare("consep", tmp_path / "CoNSeP", tmp_path / "data", progress=False)
    label_file.write_bytes(b"not a matlab file" * 20)
    with pytest.raises(DataError, match=r"test_1.mat: not a readable MATLAB file"):
        prepare("consep", tmp_path / "CoNSeP", tmp_path / "data", progress=False)


def runs(mask):
    """Column-wise run lengths by brute force."""
    flat, pairs, start = [*mask.T.ravel(), False], [], None
    for position, inside in enumerate(flat, start=1):
        if inside and start is None:
            start = position
        if not inside and start is not None:
            pairs += [start, position - start]
            start = None
    return " ".join(map(str, pairs))


def test_bbbc038(tmp_path, save, picture):
    release = tmp_path / "release"
    masks = np.zeros((2, 40, 50), bool)
    masks[0, 3:9, 3:9], masks[1, 20:26, 10:13], masks[1, 20, 20] = True, True, True
    gray = np.full((40, 50), 12, np.uint8)
    for stage, name, image in (("stage1_train", "aa", picture(1)), ("stage1_test", "bb", gray),
                               ("stage1_test", "cc", gray), ("stage2_test_final", "dd", gray + 200),
                               ("stage2_test_final", "ee", gray)):
        rgba = np.dstack([image if image.ndim == 3 else np.stack([image] * 3, -1), np.full((40, 50), 255, np.uint8)])
        save(release / stage / name / "images" / f"{name}.png", rgba)
    for number, mask in enumerate(masks):
        save(release / "stage1_train" / "aa" / "masks" / f"m{number}.png", (mask * 255).astype(np.uint8))
    header = "ImageId,EncodedPixels,Height,Width,Usage\n"
    (release / "stage1_solution.csv").write_text(
        header + "".join(f"bb,{runs(mask)},40,50,Public\n" for mask in masks))
    (release / "stage2_solution_final.csv").write_text(
        header + f"dd,{runs(masks[1])},40,50,Private\nee,1 1,40,50,Ignored\n")
    prepare("bbbc038", release, tmp_path / "data", progress=False)
    expected = masks[0] + 2 * masks[1]
    whole = load_dataset("bbbc038", root=tmp_path / "data", scheme="caicedo2019")
    assert whole.ids == ("bb", "aa", "dd"), "cc has no annotation and ee is ignored"
    assert np.array_equal(whole["aa"].labels, expected) and np.array_equal(whole["aa"].image, picture(1))
    assert np.array_equal(whole["bb"].labels, expected) and np.array_equal(whole["dd"].labels, masks[1])
    assert [whole[i].meta["modality"] for i in ("aa", "bb", "dd")] == ["color", "fluorescence", "brightfield_gray"]
    assert load_dataset("bbbc038", "test", tmp_path / "data", scheme="caicedo2019").ids == ("dd",)


@pytest.mark.parametrize(("code", "message"), [("1 2 3", "not pairs"), ("0 5", "leaves the image"),
                                               ("1999 3", "leaves the image"), ("a b", "not pairs")])
def test_bad_run_lengths(tmp_path, save, picture, code, message):
    save(tmp_path / "r" / "stage1_test" / "bb" / "images" / "bb.png", picture(1))
    (tmp_path / "r" / "stage1_solution.csv").write_text(f"ImageId,EncodedPixels\nbb,{code}\n")
    with pytest.raises(DataError, match=rf"bb.png: .*{message}"):
        prepare("bbbc038", tmp_path / "r", tmp_path / "data", progress=False)


def test_the_archive_name_tells_the_stage(tmp_path, save, picture):
    save(tmp_path / "aa" / "images" / "aa.png", picture(1))
    save(tmp_path / "aa" / "masks" / "m.png", np.full((40, 50), 255, np.uint8))
    (tmp_path / "downloads").mkdir()
    with zipfile.ZipFile(tmp_path / "downloads" / "stage1_train.zip", "w") as archive:
        for file in (tmp_path / "aa").rglob("*.png"):
            archive.write(file, file.relative_to(tmp_path))
    prepare("bbbc038", tmp_path / "downloads", tmp_path / "data", progress=False)
    assert load_dataset("bbbc038", "stage1_train", tmp_path / "data").ids == ("aa",)


def class_mask(path, indices, palette):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    mask.putpalette(palette)
    mask.save(path)


@pytest.mark.parametrize(("name", "folders", "train_name", "other", "tags", "patient"), [
    ("bcss-wsss", ("train", "val", "test"), "TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500+0[1101]",
     "TCGA-A2-A0CM-DX1_xmin1_ymin2_MPP-0.2500+7", (True, True, False, True), "TCGA-A1-A0SK"),
    ("luad-histoseg", ("training", "valid", "testing"), "1031280-2300-27920-[1 0 0 1]", "387709-42003-53010",
     (True, False, False, True), "1031280"),
    ("wsss4luad", ("1.training", "2.validation", "3.testing"), "436219-9328-56427-[1, 1, 0]", "00",
     (True, True, False), "436219"),
])
def test_tissue(tmp_path, save, picture, rng, name, folders, train_name, other, tags, patient):
    release = tmp_path / "release"
    count = len(tags)
    mask = rng.integers(0, count + 1, (40, 50)).astype(np.uint8)
    save(release / folders[0] / f"{train_name}.png", picture(1))
    for folder in folders[1:]:
        save(release / folder / "img" / f"{other}.png", picture(2))
        class_mask(release / folder / "mask" / f"{other}.png", mask, list(range(3 * count + 3)))
    prepare(name, release, tmp_path / "data", progress=False)
    scheme = "images" if name == "wsss4luad" else None
    train = load_dataset(name, "train", tmp_path / "data", scheme=scheme)[0]
    assert np.array_equal(train.image, picture(1)) and train.mask is None and train.group == patient
    assert tuple(train.tags.values()) == tags and tuple(train.tags) == train.meta["classes"]
    for split in ("val", "test"):
        sample = load_dataset(name, split, tmp_path / "data", scheme=scheme)[0]
        assert np.array_equal(sample.mask, mask) and sample.meta["background_index"] == count
        assert np.array_equal(sample.image, picture(2)) and all(sample.tags.values())


@pytest.mark.parametrize("name", ["a.png", "a-[1 0 2 1].png", "a-[1 0 1.png", "a]0101[.png", "a-[1 0 0 1 1].png"])
def test_names_without_four_tags(name):
    with pytest.raises(DataError, match=r"expected 4 tags"):
        tissue.parse_tags(name, 4)


def test_the_last_bracket_counts():
    assert tissue.parse_tags("a[0 0]-[1 0 1 1]x].png", 4) == (True, False, True, True)


def test_tissue_masks_are_checked(tmp_path, save, picture):
    image, mask = tmp_path / "r" / "val" / "img" / "a.png", tmp_path / "r" / "val" / "mask" / "a.png"
    save(image, picture(1))
    for indices, message in ((np.full((40, 50), 5, np.uint8), "holds index 5; luad-histoseg has 0 to 4"),
                             (np.zeros((4, 5), np.uint8), "has size")):
        save(mask, indices)
        with pytest.raises(DataError, match=rf"mask/a.png: {message}"):
            prepare("luad-histoseg", tmp_path / "r", tmp_path / "data", progress=False)
    mask.unlink()
    with pytest.raises(DataError, match=r"img/a.png: has no mask"):
        prepare("luad-histoseg", tmp_path / "r", tmp_path / "data", progress=False)


def test_an_old_archive_survives_a_failure_and_leftovers_go(monuseg_release, tmp_path):
    path = prepare("monuseg", monuseg_release, tmp_path / "data", progress=False)
    before = path.read_bytes()
    killed = path.parent / ".monuseg.abc.part.zip"
    killed.write_bytes(b"half")
    os.utime(killed, (0, 0))
    image = monuseg_release / "Tissue Images" / f"{KUMAR}.tif"
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(DataError, match=rf"{KUMAR}.tif"):
        prepare("monuseg", monuseg_release, tmp_path / "data", progress=False)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_requests_that_make_no_sense(tmp_path):
    with pytest.raises(DataError, match=r"synthetic-he is generated"):
        prepare("synthetic-he", tmp_path)
    with pytest.raises(UnknownNameError, match=r"no dataset 'x'"):
        prepare("x", tmp_path)
    with pytest.raises(DataError, match=r"nothing in the official layout of tnbc found; expected Slide_"):
        prepare("tnbc", tmp_path, tmp_path / "data")
