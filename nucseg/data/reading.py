"""Decode image and label files; errors name the file, notes say what was converted."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from nucseg.arrays import as_image, as_label_map
from nucseg.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".npy")


def read_image(path):
    """Return the pixels of an image file as (H, W, 3) uint8, and what was converted.

    Parameters
    ----------
    path : path-like
        A PNG, JPEG, TIFF, BMP or WebP file.

    Returns
    -------
    image : numpy.ndarray, shape (H, W, 3), uint8
    notes : tuple of str
        One remark for each conversion (gray, alpha, 16-bit); empty for plain 8-bit RGB.

    Raises
    ------
    DataError
        Unreadable, truncated, more than one page, or pixels that are neither 8- nor 16-bit; names the file.
    """
    pixels = _decode(path, as_color=True)
    image, notes = as_image(pixels, str(path)), []
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        notes.append("gray, repeated over three channels")
    elif pixels.shape[2] == 4:
        notes.append("alpha channel dropped")
    if pixels.dtype == np.uint16:
        notes.append(f"16-bit (largest value {pixels.max()}), divided by 257 to 8-bit")
    return image, tuple(notes)


def read_labels(path, name=None):
    """Return a label map file as (H, W) int32 instance ids, 0 = background.

    Parameters
    ----------
    path : path-like
        A PNG (palette, gray or 16-bit), TIFF or NPY file.
    name : str, optional
        How errors call it; the path if not given.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32

    Raises
    ------
    DataError
        Unreadable, a color picture, or not integer ids of 0 and more; names the file.
    """
    path, name = Path(path), name or str(path)
    if path.suffix.lower() == ".npy":
        try:
            pixels = np.load(path, allow_pickle=False)
        except Exception as error:  # numpy raises whatever its parser met
            raise DataError(f"{name}: cannot be read as an array ({error})") from error
    else:
        pixels = _decode(path, as_color=False)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3:
        raise DataError(f"{name}: a color picture of shape {pixels.shape}, expected one integer id per pixel")
    return as_label_map(pixels, name)


def read_indices(path):
    """Return a class mask file as (H, W) uint8 indices, without turning palette colors into RGB.

    Parameters
    ----------
    path : path-like
        A PNG, TIFF or NPY file.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8

    Raises
    ------
    DataError
        Unreadable, a color picture, or an index above 255.
    """
    labels = read_labels(path)
    if labels.max() > 255:
        raise DataError(f"{path}: class indices must be at most 255, got {labels.max()}")
    return labels.astype(np.uint8)


def _decode(path, as_color):
    path = Path(path)
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            return _decode_tiff(path)
        return _decode_with_pillow(path, as_color)
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image file, or damaged at its start") from error
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever they met in a damaged file
        raise DataError(f"{path}: cannot be decoded, it may be truncated ({error})") from error


def _decode_with_pillow(path, as_color):
    with Image.open(path) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            raise DataError(f"{path}: holds {picture.n_frames} pictures, expected one")
        if as_color and picture.mode == "P":
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            picture = picture.convert("RGB")
        elif picture.mode in ("LA", "PA"):
            picture = picture.convert("L")
        pixels = np.array(picture)
    if pixels.dtype == np.int32 and pixels.size and pixels.min() >= 0 and pixels.max() <= 65535:
        pixels = pixels.astype(np.uint16)  # some Pillow versions widen 16-bit gray
    return pixels


def _decode_tiff(path):
    """By tifffile (16-bit color, float); by Pillow where the compression needs a missing codec."""
    try:
        with tifffile.TiffFile(path) as container:
            if len(container.series) != 1 or len(container.series[0].shape) > 3:
                raise DataError(f"{path}: holds {len(container.pages)} pages, expected one picture")
            pixels = container.series[0].asarray()
    except DataError:
        raise
    except Exception as first:  # damage and missing codecs alike
        try:
            return _decode_with_pillow(path, as_color=False)
        except Exception:
            raise OSError(str(first)) from first
    if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[2] not in (3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim < 2 or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise DataError(f"{path}: holds pixels of shape {pixels.shape}, expected one picture")
    return pixels
