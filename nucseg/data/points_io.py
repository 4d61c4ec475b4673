"""Read annotated points as other programs export them: tables, ImageJ regions, GeoJSON, arrays."""

import csv
import io
import json
import re
import struct
import zipfile
from pathlib import Path

import numpy as np

from nucseg.arrays import as_points
from nucseg.errors import DataError

POINT_SUFFIXES = (".csv", ".tsv", ".txt", ".geojson", ".json", ".roi", ".zip", ".npy")
_UNITS = {"": "px", "px": "px", "pixel": "px", "pixels": "px", "µm": "µm", "um": "µm", "micron": "µm",
          "microns": "µm", "nm": "nm", "mm": "mm", "cm": "cm", "inch": "inch"}
_COLUMN = re.compile(r"(?:centroid )?([xy])\s*[(\[]?\s*(" + "|".join(filter(None, _UNITS)) + r")?\s*[)\]]?")
_NAMES = {"row": "y", "r": "y", "column": "x", "col": "x", "c": "x", "axis-0": "y", "axis-1": "x"}


def read_points(path, shape=None, pixel_size=None):
    """Return the points in a file as rows and columns.

    Understood are: tables (comma, semicolon or tab) with columns row and column, x and y, or axis-0 and
    axis-1 (napari); ImageJ and Fiji results (X, Y); QuPath measurements (Centroid X px or µm); ImageJ .roi
    files of points and .zip sets of them; GeoJSON points (QuPath); and (N, 2) arrays of rows and columns in
    NPY files. ImageJ and QuPath count from the corner of the top-left pixel, so half a pixel is taken off
    their decimals.

    Parameters
    ----------
    path : path-like
        The file; its suffix tells the format.
    shape : tuple of int, optional
        (H, W) of the image; points outside are then an error.
    pixel_size : float, optional
        Micrometers per pixel, used for columns whose header says micrometers.

    Returns
    -------
    numpy.ndarray, shape (N, 2), float64
        Row and column in pixels; (0, 0) is the center of the top-left pixel.

    Raises
    ------
    DataError
        Unreadable, without named coordinate columns, in a unit other than pixels without `pixel_size`, or
        points outside the image; the message names the file and line.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv", ".txt"):
            points = _from_table(path, pixel_size)
        elif suffix in (".geojson", ".json"):
            points = _from_geojson(path)
        elif suffix == ".roi":
            points = _from_roi(path.read_bytes(), str(path))
        elif suffix == ".zip":
            points = _from_roi_set(path)
        elif suffix == ".npy":
            points = np.load(path, allow_pickle=False)
        else:
            raise DataError(f"{path}: unknown kind of point file; known are {', '.join(POINT_SUFFIXES)}")
    except DataError:
        raise
    except Exception as error:  # parsers raise whatever they met in a damaged file
        raise DataError(f"{path}: cannot be read as points ({type(error).__name__}: {error})") from error
    return as_points(points, shape, str(path))


def _from_corner(points):
    """From the corner of the top-left pixel to its center; whole numbers name the pixel either way."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    return points if (points == np.floor(points)).all() else points - 0.5


def _text(path):
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # how older programs write the µ in a header


def _from_table(path, pixel_size):
    lines = _text(path).splitlines()
    if not lines:
        raise DataError(f"{path}: empty file; a table without points still has a header such as row,column")
    delimiter = next((d for d in "\t;" if d in lines[0]), ",")
    header, *rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter)
    found = _coordinate_columns(path, header)
    _check_one_image(path, header, rows)
    points = []
    for number, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            cells = [row[found[axis][0]].strip() for axis in "yx"]
            points.append([float(c.replace(",", ".") if delimiter == ";" else c) for c in cells])
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}: line {number} has no two numbers for the point: {row}") from error
    points = np.array(points, np.float64).reshape(-1, 2)
    unit = found["y"][1]
    if unit != "px":
        if unit != "µm" or pixel_size is None:
            raise DataError(f"{path}: its points are in {unit}; export pixels, or give the pixel size in µm")
        points = points / pixel_size
    outside = header[found["y"][0]].strip()[:1] in "YC"  # ImageJ writes Y, QuPath Centroid Y
    return _from_corner(points) if outside else points


def _coordinate_columns(path, header):
    """Return {"x": (index, unit), "y": (index, unit)}."""
    found = {}
    for index, cell in enumerate(header):
        name = cell.strip().lower().replace("\u03bc", "µ")
        match = _COLUMN.fullmatch(name)
        axis = match.group(1) if match else _NAMES.get(name)
        unit = _UNITS[match.group(2) or ""] if match else "px"
        # A table may hold pixels and micrometers side by side: pixels win.
        if axis and (axis not in found or (unit == "px" and found[axis][1] != "px")):
            found[axis] = (index, unit)
        if name == "axis-2":
            raise DataError(f"{path}: its points have three axes; export points of a single plane")
    if set(found) != {"x", "y"} or found["x"][1] != found["y"][1]:
        raise DataError(f"{path}: its header {header} does not name two coordinates in one unit; "
                        "write for example row,column or x,y in the first line")
    return found


def _check_one_image(path, header, rows):
    names = [cell.strip().lower() for cell in header]
    if "image" in names:
        images = {row[names.index("image")] for row in rows if len(row) > names.index("image")}
        if len(images) > 1:
            raise DataError(f"{path}: holds points of {len(images)} images; export one file for each image")


def _from_geojson(path):
    content = json.loads(_text(path))
    features = content.get("features", [content]) if isinstance(content, dict) else content
    points, other = [], set()
    for feature in features:
        geometry = (feature.get("geometry") or feature) if isinstance(feature, dict) else {}
        if geometry.get("type") == "Point":
            points.append(geometry["coordinates"][:2])
        elif geometry.get("type") == "MultiPoint":
            points.extend(pair[:2] for pair in geometry["coordinates"])
        else:
            other.add(str(geometry.get("type")))
    if not points and other:
        raise DataError(f"{path}: holds no points but {', '.join(sorted(other))}; annotate with points")
    return _from_corner(np.array(points, np.float64).reshape(-1, 2)[:, ::-1])


def _from_roi_set(path):
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".roi")]
        if not names:
            raise DataError(f"{path}: holds no .roi file")
        sets = [_from_roi(archive.read(name), f"{path}: {name}") for name in names]
    return np.concatenate(sets)


def _from_roi(content, name):
    """Decode an ImageJ region of type point: big-endian header of 64 bytes, then x and y offsets.

    Offsets in the header: 4 version, 6 type (10 is point), 8 top, 10 left, 16 count, 18 count where that is 0
    (more than 65,535 points), 50 options (bit 7: coordinates follow as floats too).
    """
    if content[:4] != b"Iout" or len(content) < 64:
        raise DataError(f"{name}: not an ImageJ region file")
    kind, (top, left) = content[6], struct.unpack(">hh", content[8:12])
    if kind != 10:
        raise DataError(f"{name}: an ImageJ region of type {kind}, not points; use the multi-point tool")
    count = struct.unpack(">H", content[16:18])[0] or struct.unpack(">i", content[18:22])[0]
    version, options = struct.unpack(">h", content[4:6])[0], struct.unpack(">h", content[50:52])[0]
    as_floats = options & 128 and version >= 222
    if count < 0 or len(content) < 64 + count * (12 if as_floats else 4):
        raise DataError(f"{name}: truncated, its header announces {count} points")
    if as_floats:
        x, y = np.frombuffer(content, ">f4", 2 * count, 64 + 4 * count).reshape(2, count)
        return _from_corner(np.stack([y, x], axis=1))
    x, y = np.frombuffer(content, ">i2", 2 * count, 64).reshape(2, count).astype(np.float64)
    return np.stack([y + top, x + left], axis=1)
