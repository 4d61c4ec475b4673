import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg.data import read_points
from nucseg.data.points_io import _from_roi
from nucseg.errors import DataError


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(("text", "expected"), [
    ("row,column\n1,2\n3.5,4\n", [[1, 2], [3.5, 4]]),
    ("Row,Col\n1,2\n", [[1, 2]]),
    ("x,y\n1,2\n", [[2, 1]]),
    ("y,x\n1,2\n\n", [[1, 2]]),
    ("x (px),y (px)\n1.25,2\n", [[2, 1.25]]),
    ("index,axis-0,axis-1\n0,5,6.25\n", [[5, 6.25]]),  # napari
    ("row,column\n", []),
    ("\ufeffrow,column\n1,2\n", [[1, 2]]),  # with a byte-order mark
    ("row;column\n1,5;2\n", [[1.5, 2]]),  # decimal comma
    (" ,Area,Mean,X,Y\n1,0,12,10,20\n2,0,15,11,21\n", [[20, 10], [21, 11]]),  # ImageJ, whole numbers
    (" ,Area,Mean,X,Y\n1,0,12,10.5,20.5\n", [[20, 10]]),  # ImageJ, from the corner
])
def test_tables(tmp_path, text, expected):
    points = read_points(write(tmp_path / "a.csv", text))
    assert points.shape == (len(expected), 2) and points.tolist() == expected


def test_qupath_pixels_win_over_micrometers(tmp_path):
    text = "Image\tName\tCentroid X µm\tCentroid Y µm\tCentroid X px\tCentroid Y px\na.tif\tp\t5\t6\t10.5\t20.5\n"
    assert read_points(write(tmp_path / "a.tsv", text)).tolist() == [[20, 10]]


@pytest.mark.parametrize("sign", ["µ", "\u03bc"])
def test_micrometers_need_a_pixel_size(tmp_path, sign):
    path = write(tmp_path / "a.txt", f"Centroid X {sign}m\tCentroid Y {sign}m\n5.25\t10.25\n")
    with pytest.raises(DataError, match=r"a.txt: its points are in µm"):
        read_points(path)
    assert read_points(path, pixel_size=0.5).tolist() == [[20, 10]]


def test_older_encoding_of_micrometers(tmp_path):
    path = write(tmp_path / "a.csv", "X (µm),Y (µm)\n1,2\n", "cp1252")
    with pytest.raises(DataError, match=r"are in µm"):
        read_points(path)


@pytest.mark.parametrize(("text", "message"), [
    ("", "empty file"),
    ("1,2\n3,4\n", "does not name two coordinates"),
    ("row,name\n1,2\n", "does not name two coordinates"),
    ("x (px),y (µm)\n1,2\n", "does not name two coordinates in one unit"),
    ("x (mm),y (mm)\n1,2\n", "are in mm"),
    ("row,column\n1,2\n3\n", r"line 3 has no two numbers for the point: \['3'\]"),
    ("row,column\n1,two\n", "line 2 has no two numbers"),
    ("row,column\n1,nan\n", "not finite"),
    ("axis-0,axis-1,axis-2\n1,2,3\n", "three axes"),
    ("Image,x,y\na,1,2\nb,1,2\n", "points of 2 images"),
])
def test_bad_tables(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"a.csv: .*{message}"):
        read_points(write(tmp_path / "a.csv", text))


def test_points_outside_are_named(tmp_path):
    path = write(tmp_path / "a.csv", "row,column\n1,2\n10,3\n")
    assert len(read_points(path, (11, 5))) == 2
    with pytest.raises(DataError, match=r"a.csv: 1 of 2 points lie outside .* number 1 at .* \(10, 3\)"):
        read_points(path, (10, 5))


def roi(points, floats=False, kind=10, version=227):
    """Encode points (x, y) as ImageJ does: header, offsets to the bounding box, coordinates as floats if wanted."""
    points = np.asarray(points, float).reshape(-1, 2)
    whole = np.floor(points).astype(int)
    left, top = whole.min(axis=0) if len(whole) else (0, 0)
    header = bytearray(64)
    header[:4], header[6] = b"Iout", kind
    struct.pack_into(">h", header, 4, version)
    struct.pack_into(">hh", header, 8, top, left)
    struct.pack_into(">h", header, 16, len(points))
    struct.pack_into(">h", header, 50, 128 if floats else 0)
    body = struct.pack(f">{2 * len(points)}h", *(whole[:, 0] - left), *(whole[:, 1] - top))
    if floats:
        body += struct.pack(f">{2 * len(points)}f", *points[:, 0], *points[:, 1])
    return bytes(header) + body


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), max_size=20), st.booleans())
def test_roi_round_trip(points, floats):
    assert _from_roi(roi(points, floats), "r").tolist() == [[y, x] for x, y in points]


def test_roi_files_and_sets(tmp_path):
    (tmp_path / "a.roi").write_bytes(roi([(3.5, 7.25)], floats=True))
    assert read_points(tmp_path / "a.roi").tolist() == [[6.75, 3]]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("1.roi", roi([(1, 2)]))
        archive.writestr("2.roi", roi([(3, 4), (5, 6)]))
    assert read_points(tmp_path / "set.zip").tolist() == [[2, 1], [4, 3], [6, 5]]


def test_more_points_than_the_short_counter_holds():
    content = bytearray(roi([(1, 2), (3, 4)]))
    struct.pack_into(">h", content, 16, 0)
    struct.pack_into(">i", content, 18, 2)
    assert _from_roi(bytes(content), "r").tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize(("content", "message"), [
    (b"no region at all" * 9, "not an ImageJ region"), (roi([(1, 2)], kind=0), "type 0, not points"),
    (roi([(1, 2), (3, 4)])[:-2], "truncated, its header announces 2"), (b"Iout", "not an ImageJ region"),
    (roi([(1, 2)], floats=True)[:-1], "truncated"),
])
def test_bad_rois(tmp_path, content, message):
    (tmp_path / "a.roi").write_bytes(content)
    with pytest.raises(DataError, match=rf"a.roi: .*{message}"):
        read_points(tmp_path / "a.roi")


def test_geojson(tmp_path):
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [10.5, 20.5]}, "properties": {}}
    many = {"type": "Feature", "geometry": {"type": "MultiPoint", "coordinates": [[1.5, 2.5], [3.5, 4.5]]}}
    cell = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}}
    for content in ({"type": "FeatureCollection", "features": [point, many, cell]}, [point, many]):
        path = write(tmp_path / "a.geojson", json.dumps(content))
        assert read_points(path).tolist() == [[20, 10], [2, 1], [4, 3]]
    write(tmp_path / "a.geojson", json.dumps(point))
    assert read_points(tmp_path / "a.geojson").tolist() == [[20, 10]]
    write(tmp_path / "a.geojson", json.dumps([cell]))
    with pytest.raises(DataError, match=r"holds no points but Polygon"):
        read_points(tmp_path / "a.geojson")
    write(tmp_path / "a.geojson", '{"features": [')
    with pytest.raises(DataError, match=r"cannot be read as points"):
        read_points(tmp_path / "a.geojson")


@pytest.mark.parametrize("text", ['{"features": 3}', '[{"geometry": {"type": "Point"}}]', '"text"', "[1, 2]",
                                  '[{"geometry": {"type": "Point", "coordinates": ["a", "b"]}}]'])
def test_json_of_another_kind(tmp_path, text):
    with pytest.raises(DataError, match=r"a.json"):
        read_points(write(tmp_path / "a.json", text))


def test_arrays_and_unknown_kinds(tmp_path):
    np.save(tmp_path / "a.npy", [[1.5, 2]])
    assert read_points(tmp_path / "a.npy").tolist() == [[1.5, 2]]
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with pytest.raises(DataError, match=r"a.npy: expected numbers of shape \(N, 2\)"):
        read_points(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"unknown kind"):
        read_points(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match=r"gone.csv: cannot be read"):
        read_points(tmp_path / "gone.csv")
