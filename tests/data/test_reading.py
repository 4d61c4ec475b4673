import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg.data.reading import read_image, read_indices, read_labels
from nucseg.errors import DataError


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_plain_color(tmp_path, save, picture, suffix):
    image, notes = read_image(save(tmp_path / f"a{suffix}", picture(1)))
    assert np.array_equal(image, picture(1)) and notes == ()


def test_gray_alpha_and_palette(tmp_path, save, picture):
    gray = picture(1)[..., 0]
    image, notes = read_image(save(tmp_path / "g.png", gray))
    assert np.array_equal(image, np.stack([gray] * 3, -1)) and "gray" in notes[0]
    rgba = np.dstack([picture(1), np.full((40, 50), 7, np.uint8)])
    image, notes = read_image(save(tmp_path / "a.png", rgba))
    assert np.array_equal(image, picture(1)) and "alpha" in notes[0]
    indices = np.array([[0, 1], [1, 0]], np.uint8)
    palette = Image.frombytes("P", (2, 2), indices.tobytes())
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png")[0][0].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert np.array_equal(read_indices(tmp_path / "p.png"), indices)


def test_sixteen_bit(tmp_path, save):
    pixels = np.array([[0, 257, 65535]], np.uint16)
    for path in (save(tmp_path / "a.png", pixels), tmp_path / "a.tif"):
        if path.suffix == ".tif":
            tifffile.imwrite(path, pixels)
        image, notes = read_image(path)
        assert image[0, :, 0].tolist() == [0, 1, 255]
        assert any("16-bit (largest value 65535)" in note for note in notes)
    tifffile.imwrite(tmp_path / "c.tif", np.full((4, 5, 3), 2570, np.uint16))
    assert read_image(tmp_path / "c.tif")[0].max() == 10


def test_planar_and_compressed_tiff(tmp_path, picture):
    planes = np.moveaxis(picture(1), -1, 0)
    tifffile.imwrite(tmp_path / "planar.tif", planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_image(tmp_path / "planar.tif")[0], picture(1))
    Image.fromarray(picture(1)).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    assert np.array_equal(read_image(tmp_path / "lzw.tif")[0], picture(1))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [0.5, 0.02])
def test_truncated_files_are_named(tmp_path, save, picture, suffix, share):
    path = save(tmp_path / f"short{suffix}", picture(1))
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content))])
    with pytest.raises(DataError, match=f"short{suffix}: "):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_files_of_another_kind(tmp_path, suffix):
    path = tmp_path / f"text{suffix}"
    path.write_text("these are no pixels")
    with pytest.raises(DataError, match=f"text{suffix}: "):
        read_labels(path)


def test_stacks_and_floats_are_refused(tmp_path, picture):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((7, 40, 50), np.uint8))
    with pytest.raises(DataError, match=r"stack.tif: holds pixels of shape \(7, 40, 50\)"):
        read_image(tmp_path / "stack.tif")
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((40, 50), np.float32))
    with pytest.raises(DataError, match=r"float.tif: expected 8- or 16-bit"):
        read_image(tmp_path / "float.tif")
    frames = [Image.fromarray(picture(n)) for n in (1, 2)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"holds 2 pictures"):
        read_image(tmp_path / "moving.webp")


def test_label_files(tmp_path, save):
    labels = np.array([[0, 1], [300, 65535]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", labels)
    np.save(tmp_path / "a.npy", labels.astype(np.int64))
    for path in (save(tmp_path / "a.png", labels), tmp_path / "a.tif", tmp_path / "a.npy"):
        read = read_labels(path)
        assert np.array_equal(read, labels) and read.dtype == np.int32


@pytest.mark.parametrize(("array", "message"), [
    (np.zeros((3, 3)), "holds integers, got dtype float64; round and cast"),
    (np.full((3, 3), -2), "got -2"),
    (np.zeros((3, 3, 3), np.uint8), "a color picture"),
    (np.array([{}], dtype=object), "cannot be read as an array"),
])
def test_bad_label_arrays(tmp_path, array, message):
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=f"bad.npy: .*{message}"):
        read_labels(tmp_path / "bad.npy")


def test_indices_above_255(tmp_path, save):
    with pytest.raises(DataError, match=r"at most 255, got 256"):
        read_indices(save(tmp_path / "a.png", np.array([[256]], np.uint16)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_random_damage_ends_in_pixels_or_in_a_named_error(tmp_path, save, picture, rng, suffix):
    content = save(tmp_path / f"a{suffix}", picture(1)).read_bytes()
    for _ in range(40):
        damaged = bytearray(content)
        for position in rng.integers(0, min(len(content), 200), 3):
            damaged[position] = rng.integers(256)
        (tmp_path / f"b{suffix}").write_bytes(damaged[:rng.integers(1, len(content) + 1)])
        try:
            image, _ = read_image(tmp_path / f"b{suffix}")
            assert image.dtype == np.uint8 and image.ndim == 3
        except DataError as error:
            assert f"b{suffix}" in str(error)
