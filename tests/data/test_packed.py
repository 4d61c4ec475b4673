import io
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from nucseg.data.packed import PackedArchive, group_of, parse_row
from nucseg.errors import DataError


@pytest.fixture
def archive(tmp_path, pack, picture):
    labels = np.zeros((40, 50), np.uint16)
    labels[2:5, 3:9] = 300
    labels[20:30, 20:30] = 65535
    mask = np.arange(2000, dtype=np.uint8).reshape(40, 50) % 4
    rows = [{"id": i, "split": s, "patient": p, "tumor": t, "size": "12.5"}
            for i, s, p, t in (("TCGA-AB-1234-01Z", "train", "", "1"), ("two", "val", "P7", "0"))]
    entries = {"images/TCGA-AB-1234-01Z.webp": picture(1), "labels/TCGA-AB-1234-01Z.png": labels,
               "images/two.png": picture(2), "masks/two.png": mask}
    return PackedArchive(pack(tmp_path / "set.zip", rows, entries), ["tumor"]), labels, mask


def test_reads_what_was_written(archive, picture):
    packed, labels, mask = archive
    first, second = packed.read("TCGA-AB-1234-01Z"), packed.read("two")
    assert np.array_equal(first.image, picture(1)) and np.array_equal(second.image, picture(2))
    assert np.array_equal(first.labels, labels) and first.labels.dtype == np.int32 and first.mask is None
    assert np.array_equal(second.mask, mask) and second.mask.dtype == np.uint8 and second.labels is None
    assert (first.group, second.group) == ("TCGA-AB-1234", "P7")
    assert first.tags == {"tumor": True} and second.tags == {"tumor": False}
    assert first.meta["size"] == 12.5 and second.meta["patient"] == "P7"


def test_palette_masks_are_read_as_indices(tmp_path, pack, picture):
    indices = np.array([[0, 1, 2, 3]] * 4, np.uint8)
    colored = Image.frombytes("P", (4, 4), indices.tobytes())
    colored.putpalette([0, 64, 128, 64, 128, 0, 243, 152, 0, 255, 255, 255])
    stream = io.BytesIO()
    colored.save(stream, "PNG")
    path = pack(tmp_path / "p.zip", [{"id": "a", "split": "x"}],
                {"images/a.png": picture(1, (4, 4)), "masks/a.png": stream.getvalue()})
    assert np.array_equal(PackedArchive(path).read("a").mask, indices)


def _mean_of(argument):
    packed, name = argument
    return float(packed.array(name, "image").mean())


def test_shared_by_threads_and_forked_processes(archive, picture):
    packed, *_ = archive
    jobs = [(packed, "two"), (packed, "TCGA-AB-1234-01Z")] * 20
    expected = [picture(2).mean(), picture(1).mean()] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(_mean_of, jobs)) == pytest.approx(expected)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_mean_of, jobs) == pytest.approx(expected)


def test_a_truncated_archive_is_named(tmp_path, archive):
    packed, *_ = archive
    short = tmp_path / "short.zip"
    short.write_bytes(packed.path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"short.zip: not a whole zip"):
        PackedArchive(short)


def test_a_damaged_entry_is_named(tmp_path, archive):
    packed, *_ = archive
    content = bytearray(packed.path.read_bytes())
    position = content.index(b"images/two.png") + 500
    content[position:position + 50] = bytes(50)
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged.zip: cannot read images/two.png"):
        PackedArchive(damaged).read("two")


@pytest.mark.parametrize(("rows", "entries", "table", "message"), [
    ([{"id": "a"}], {}, "other.csv", "has no meta.csv"),
    ([{"id": "a"}], {}, "meta.csv", "'a', but there is no such image"),
    ([{"name": "a"}], {}, "meta.csv", "no column 'id'"),
])
def test_an_archive_that_is_not_a_packed_dataset(tmp_path, pack, rows, entries, table, message):
    with pytest.raises(DataError, match=message):
        PackedArchive(pack(tmp_path / "x.zip", rows, entries, table))


def test_a_color_picture_is_no_label_map(tmp_path, pack, picture):
    path = pack(tmp_path / "c.zip", [{"id": "a"}], {"images/a.png": picture(1), "labels/a.png": picture(2)})
    with pytest.raises(DataError, match=r"labels/a.png is a color picture"):
        PackedArchive(path).read("a")


@pytest.mark.parametrize(("row", "group"), [
    ({"id": "TCGA-18-5592-01Z-00-DX1"}, "TCGA-18-5592"),
    ({"id": "01_1", "patient": "1"}, "1"),
    ({"id": "train_1", "patient": ""}, ""),
    ({"id": "TCGA-x"}, ""),
])
def test_group_of(row, group):
    assert group_of(row) == group


def test_parse_row_keeps_names_as_text():
    row = {"id": "007", "patient": "03", "height": "512", "share": "0.25", "organ": "Liver", "empty": ""}
    assert parse_row(row) == {"id": "007", "patient": "03", "height": 512, "share": 0.25, "organ": "Liver"}
