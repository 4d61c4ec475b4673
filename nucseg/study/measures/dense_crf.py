"""How strong the lattice of released dense CRF losses is, compared with the exact sum that this library computes."""

import numpy as np
import torch
from torch.nn import functional as F

from nucseg.losses.dense_crf import dense_crf_loss
from nucseg.losses.lattice import lattice_filter
from nucseg.methods.preprocessing import Preprocessing

#: Side of the windows in the middle of each image, as large as the crops of training, px.
SIDE = 224


def compare_kernels(prob, image, sigma_xy, sigma_rgb):
    """Compare energy and gradient of the dense CRF on the lattice with the exact ones.

    Parameters
    ----------
    prob : numpy.ndarray, shape (H, W), float
        Probability of nucleus, in [0, 1].
    image : numpy.ndarray, shape (H, W, 3), float
        Colors in [0, 1].
    sigma_xy : float
        Spatial width, px.
    sigma_rgb : float
        Color width.

    Returns
    -------
    dict of str to float
        ``energy_ratio`` (lattice by exact), ``gradient_ratio`` (slope of the line through the origin) and
        ``gradient_correlation``.
    """
    y = torch.tensor(prob[None], dtype=torch.float32, requires_grad=True)
    colors = torch.tensor(image.transpose(2, 0, 1)[None], dtype=torch.float32)
    valid = torch.ones(y.shape, dtype=torch.bool)
    loss = dense_crf_loss(y, colors, sigma_xy, sigma_rgb, valid=valid)
    exact = torch.autograd.grad(loss, y)[0].numpy().ravel() * y.numel()
    rows, columns = np.indices(prob.shape)
    features = np.dstack([rows / sigma_xy, columns / sigma_xy, image / sigma_rgb]).reshape(-1, 5)
    front = lattice_filter(np.stack([prob.ravel(), 1 - prob.ravel()], axis=1), features)
    gradient = front[:, 1] - front[:, 0]
    return {
        "energy_ratio": float((prob.ravel() * front[:, 1]).sum() / (float(loss.detach()) * y.numel())),
        "gradient_ratio": float((gradient * exact).sum() / (exact**2).sum()),
        "gradient_correlation": float(np.corrcoef(gradient, exact)[0, 1]),
    }


def measure_lattice(dataset, row):
    """Yield the comparison for the middle of each image, with true outlines that were blurred a little."""
    preprocessing = Preprocessing.learn(dataset)
    widths = row.settings["sigma_xy"], row.settings["sigma_rgb"]
    for sample in dataset:
        middle = tuple(slice(max(0, (n - SIDE) // 2), max(0, (n - SIDE) // 2) + SIDE) for n in sample.labels.shape)
        colors = preprocessing.colors(sample.image)[middle].astype(np.float32) / 255
        truth = torch.tensor(sample.labels[middle] > 0, dtype=torch.float32)
        prob = F.avg_pool2d(truth[None, None], 7, 1, 3)[0, 0].numpy()
        yield sample.id, compare_kernels(prob, colors, *widths)
