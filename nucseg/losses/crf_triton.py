"""Windowed Gaussian affinity sums on the GPU: energy and gradient of the dense CRF loss in one Triton kernel.

Every program owns a tile of pixels, walks through the window and keeps the sums of its pixels in registers. A
pair is visited once from either side, so that programs share nothing and results are the same in every run.
"""

import functools
import math
import warnings

import torch

try:
    import triton
    import triton.language as tl
    from triton.language import constexpr
except ImportError:  # torch brings it along on Linux only
    triton = constexpr = None

#: Rows and columns of a tile. A row of a tile is as long as a warp, so that a warp reads in one piece.
ROWS, COLUMNS = 8, 32
#: Scaled color of invalid pixels, so far below any true color that no weight to a valid pixel is left.
_FAR = -1e4


def _tile_sums(
    planes,
    gradient,
    energies,
    height,
    width,
    plane,
    stride,
    radius,
    scale,
    rows: constexpr,
    columns: constexpr,
):
    # A tile and its partners may reach over the edge of the image by less than a tile, where invalid pixels lie.
    program = tl.program_id(0)
    down, across = tl.cdiv(height, rows), tl.cdiv(width, columns)
    # 64 bits, because a large batch has more than 2 ** 31 values; within a tile 32 bits do.
    number = (program // (down * across)).to(tl.int64)
    row = (program // across) % down * rows
    column = program % across * columns
    y_step, x_step = tl.arange(0, rows)[:, None], tl.arange(0, columns)[None, :]
    near = y_step * stride + x_step
    red = planes + number * 4 * plane + (row + rows).to(tl.int64) * stride + (column + columns)
    green, blue, prob = red + plane, red + plane + plane, red + plane + plane + plane
    red_here, green_here, blue_here = tl.load(red + near), tl.load(green + near), tl.load(blue + near)
    slope = tl.zeros((rows, columns), tl.float32)
    contrast = tl.zeros((rows, columns), tl.float32)
    for dy in range(tl.maximum(-radius, 1 - rows - row), tl.minimum(radius, height - 1 - row) + 1):
        # Each row of the window is summed by itself: short sums lose less to rounding.
        row_slope = tl.zeros((rows, columns), tl.float32)
        row_contrast = tl.zeros((rows, columns), tl.float32)
        for dx in range(tl.maximum(-radius, 1 - columns - column), tl.minimum(radius, width - 1 - column) + 1):
            there = near + (dy * stride + dx)
            dr, dg = red_here - tl.load(red + there), green_here - tl.load(green + there)
            db = blue_here - tl.load(blue + there)
            partner = tl.load(prob + there)
            y_distance, x_distance = dy * scale, dx * scale
            distance = y_distance * y_distance + x_distance * x_distance
            weight = tl.exp2(-(dr * dr + dg * dg + db * db + distance))
            row_slope += weight * (1 - 2 * partner)
            row_contrast += weight * (1 - partner)
        slope += row_slope
        contrast += row_contrast
    out = gradient + number * height * width + row.to(tl.int64) * width + column
    inside = (row + y_step < height) & (column + x_step < width)
    tl.store(out + (y_step * width + x_step), slope, mask=inside)
    tl.store(energies + program, tl.sum(tl.load(prob + near) * contrast))


# Sizes and radius as plain numbers: one compiled kernel serves all, and a 1 among them is nothing special.
_SIZES = ["height", "width", "plane", "stride", "radius"]
_kernel = triton.jit(_tile_sums, do_not_specialize=_SIZES) if triton else None


def windowed_sums(prob, image, valid, sigma_xy, sigma_rgb, radius):
    """Energy and gradient of the dense CRF loss for a batch, not yet divided by the pixel numbers.

    The sums are those of Qu et al. 2020, eq. 7-10, over pairs at most `radius` apart in row and column:
    ``energy = sum_ij y_i (1 - y_j) W_ij`` and ``gradient_i = sum_j W_ij (1 - 2 y_j)``, the pairs of a pixel
    with itself included. The weights are exact up to float32 rounding; the result is the same, bit by bit, in
    every run on one kind of GPU.

    Parameters
    ----------
    prob : (B, H, W) float32 tensor
        Nucleus probability y in [0, 1].
    image : (B, 3, H, W) float32 tensor
        Colors in [0, 1].
    valid : (B, H, W) bool tensor
        Pixels that take part.
    sigma_xy : float
        Spatial width, px.
    sigma_rgb : float
        Color width, on the scale of `image`.
    radius : int
        Half side of the window, px.

    Returns
    -------
    energy : (B,) float32 tensor
        Energy of each image.
    gradient : (B, H, W) float32 tensor
        Its derivative by `prob`, 0 outside `valid`.
    """
    batch, height, width = prob.shape
    # W = 2 ** -(squared distance of scaled colors and positions)
    scale = math.sqrt(0.5 * math.log2(math.e))
    # Colors and probability, with a border of one tile of invalid pixels: no bounds to check in the window.
    planes = prob.new_full((batch, 4, height + 2 * ROWS, width + 2 * COLUMNS), _FAR)
    planes[:, 3] = 0
    middle = planes[:, :, ROWS : ROWS + height, COLUMNS : COLUMNS + width]
    middle[:, :3] = torch.where(valid[:, None], image * (scale / sigma_rgb), _FAR)
    middle[:, 3] = torch.where(valid, prob, 0)
    tiles = triton.cdiv(height, ROWS) * triton.cdiv(width, COLUMNS)
    gradient, energies = prob.new_empty(prob.shape), prob.new_empty((batch, tiles))
    _, plane, stride, _ = planes.stride()
    radius = min(radius, max(height, width) - 1)
    # A kernel goes to the current GPU, which need not be that of the tensors.
    with torch.cuda.device_of(prob):
        _kernel[(batch * tiles,)](
            planes, gradient, energies, height, width, plane, stride, radius, scale / sigma_xy, ROWS, COLUMNS
        )
    return energies.sum(dim=1, dtype=torch.float64).float(), gradient * valid


def available(device):
    """Whether the kernel runs on a device; warns once if a GPU ought to run it and does not.

    Parameters
    ----------
    device : torch.device
        The device of the tensors.

    Returns
    -------
    bool
        True on a GPU for which Triton is installed and compiles the kernel.
    """
    return triton is not None and device.type == "cuda" and _runs_on(device)


@functools.cache
def _runs_on(device):
    # Compiling needs a card that is new enough and, at the first run, a C compiler.
    pixel = torch.zeros(1, 1, 1, device=device)
    try:
        windowed_sums(pixel, pixel[:, None].expand(1, 3, 1, 1), pixel == 0, 1.0, 1.0, 1)
    except Exception as error:
        message = f"the dense CRF loss takes the slow path, because its kernel does not compile for {device}: {error}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return False
    return True
