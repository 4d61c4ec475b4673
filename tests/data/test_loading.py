import numpy as np
import pytest

from nucseg.data import available, dataset_info, load_dataset
from nucseg.data.catalog import names
from nucseg.data.official.monuseg_table import monuseg_table
from nucseg.data.splits import check_no_leak
from nucseg.errors import DataError, UnknownNameError

REAL = [name for name in names() if not dataset_info(name).synthetic]
# Counts stated with the copies (their own tables), by dataset and scheme.
SIZES = {
    ("monuseg", "qu2019"): {"train": 12, "val": 4, "test": 14, "test_same_organ": 8, "test_different_organ": 6},
    ("monuseg", "kumar2017"): {"train": 16, "test": 14, "test_same_organ": 8, "test_different_organ": 6},
    ("monuseg", "hovernet2019"): {"train": 16, "test": 14, "test_same_organ": 8, "test_different_organ": 6},
    ("monuseg", "monuseg2018"): {"train": 37, "test": 14},
    ("tnbc", "qu2019"): {"train": 30, "val": 7, "test": 13},
    ("consep", "official"): {"train": 27, "test": 14},
    ("bbbc038", "stages"): {"stage1_train": 664, "stage1_test": 65},
    ("wsss4luad", "images"): {"train": 4, "val": 31, "test": 67},
}
NUCLEI = {"monuseg": 30828, "tnbc": 4028, "consep": 24332, "bbbc038": 33138}


def real(name):
    if name not in available():
        pytest.skip(f"{name} is not in the data folder")


@pytest.mark.data
@pytest.mark.parametrize(("name", "scheme"), SIZES)
def test_split_sizes(name, scheme):
    real(name)
    parts = {split: load_dataset(name, split, scheme=scheme) for split in SIZES[name, scheme]}
    assert {split: len(part) for split, part in parts.items()} == SIZES[name, scheme]
    whole = load_dataset(name, scheme=scheme)
    assert set(whole.ids) == {i for part in parts.values() for i in part.ids}
    exclusive = {split: part.ids for split, part in parts.items() if not split.startswith("test_")}
    check_no_leak(exclusive, whole.groups)


@pytest.mark.data
def test_parts_of_the_monuseg_test_set():
    real("monuseg")
    for scheme in ("qu2019", "kumar2017", "hovernet2019"):
        test, same, different = (
            set(load_dataset("monuseg", split, scheme=scheme).ids)
            for split in ("test", "test_same_organ", "test_different_organ")
        )
        assert same | different == test and not same & different


@pytest.mark.data
def test_monuseg_rows_equal_the_table_of_the_release_reader():
    real("monuseg")
    table = monuseg_table()
    dataset = load_dataset("monuseg", scheme="monuseg2018")
    assert set(dataset.ids) == set(table)
    for name in dataset.ids[::7]:
        meta = dataset[name].meta
        assert {column: meta.get(column, "") for column in table[name]} == table[name]


@pytest.mark.data
@pytest.mark.parametrize("name", NUCLEI)
def test_every_tenth_image_holds_what_its_row_says(name):
    real(name)
    dataset = load_dataset(name, scheme="monuseg2018" if name == "monuseg" else None)
    for sample in dataset[::10]:
        assert sample.labels.shape == sample.image.shape[:2] == (sample.meta["height"], sample.meta["width"])
        ids = np.unique(sample.labels)
        assert np.array_equal(ids, np.arange(sample.meta["n_instances"] + 1))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", NUCLEI)
def test_number_of_nuclei(name):
    real(name)
    dataset = load_dataset(name, scheme="monuseg2018" if name == "monuseg" else None)
    assert sum(len(np.unique(s.labels)) - 1 for s in dataset) == NUCLEI[name] == dataset_info(name).objects


@pytest.mark.data
def test_packed_checksums_are_known():
    for name in REAL:
        if name in available():
            dataset = load_dataset(name)
            assert dataset.checksum in dataset_info(name).known, f"{name} is another copy"


@pytest.mark.data
def test_wsss4luad_windows():
    real("wsss4luad")
    parts = {split: load_dataset("wsss4luad", split) for split in ("train", "val", "test")}
    check_no_leak({split: part.ids for split, part in parts.items()},
                  {i: g for part in parts.values() for i, g in part.groups.items()})
    for split, part in parts.items():
        tags, shapes = zip(*[(tuple(sample.tags.values()), sample.image.shape) for sample in part])
        assert all(map(any, tags)), "a window without tissue"
        assert all(any(column) for column in zip(*tags)), f"a class never occurs in {split}"
        assert set(shapes) == {(224, 224, 3)}
    sample = parts["val"][3]
    counts = [(sample.mask == k).mean() >= 0.01 for k in range(3)]
    assert list(sample.tags.values()) == counts and list(sample.tags) == ["tumor", "stroma", "normal"]


def test_generators_are_always_available(tmp_path):
    assert available(tmp_path) == ("synthetic-he", "synthetic-fluorescence", "synthetic-tissue")
    sample = load_dataset("synthetic-he", "val")[0]
    assert sample.image.shape[:2] == sample.labels.shape


@pytest.mark.parametrize(("arguments", "message"), [
    (("monuesg",), "no dataset 'monuesg'; known datasets: synthetic-he"),
    (("monuseg", "dev"), r"monuseg \(qu2019\) has no split 'dev'; its splits: train, val, test"),
    (("synthetic-he", "dev"), "no split 'dev'"),
])
def test_unknown_names_list_the_known_ones(arguments, message):
    with pytest.raises(UnknownNameError, match=message):
        load_dataset(*arguments)


def test_unknown_scheme():
    with pytest.raises(UnknownNameError, match=r"no split scheme 'x'; its schemes: qu2019, kumar2017"):
        load_dataset("monuseg", scheme="x")


def test_absent(tmp_path):
    with pytest.raises(DataError, match=r"dataset 'tnbc' is not here"):
        load_dataset("tnbc", root=tmp_path)


def test_a_split_without_images(tmp_path, pack, picture):
    pack(tmp_path / "bbbc038.zip", [{"id": "a", "split": "stage1_train"}], {"images/a.png": picture(1)})
    assert load_dataset("bbbc038", "stage1_train", tmp_path).ids == ("a",)
    with pytest.raises(DataError, match=r"no image of bbbc038 is in split test of caicedo2019"):
        load_dataset("bbbc038", "test", tmp_path, scheme="caicedo2019")


@pytest.mark.parametrize("name", names())
def test_catalog_records_are_complete(name):
    info = dataset_info(name)
    assert info.name == name and info.task in ("nuclei", "tissue") and info.schemes
    assert all(scheme.splits and scheme.source for scheme in info.schemes.values())
    if not info.synthetic:
        assert info.files and info.cite and info.license and info.obtain and info.layout and info.images
        assert all(len(digest) == 64 for digest in info.known)
    if info.palette:
        assert len(info.palette) == len(info.classes) + 1 == info.background + 1
