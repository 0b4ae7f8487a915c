"""MDMO (Liu et al. 2016, doi:10.1109/TAFFC.2015.2485205): main directional mean optical flow of facial regions, with an SVM.

The flow vectors of a region are sorted into eight directions; the mean vector of the fullest bin, averaged over frames,
stands for the region. stagkit's choice: stagkit's 22 regions in place of 36; vectors as (u, v) instead of length and angle;
bins are filled by vector length, so that still pixels do not count; a Gaussian kernel with C = 1 and balanced classes.
"""

from __future__ import annotations

import numpy as np

from stagkit.baselines.plain import Predictor, fit_classifier
from stagkit.core.types import RoiDataset


def compute_main_motion(patches: np.ndarray, n_bins: int = 8) -> np.ndarray:
    """Mean flow of the main direction of each patch: float "... chan py px", chan = (u, v, ...) -> "... 2".

    The first of ``n_bins`` directions is centred on 'right'.

    Example:
        >>> patch = np.zeros((3, 1, 4)); patch[0, 0, :3] = (2.0, 1.0, 3.0); patch[1, 0, 3] = -4.0
        >>> compute_main_motion(patch)
        array([2., 0.])
    """
    u, v = patches[..., 0, :, :], patches[..., 1, :, :]
    u, v = u.reshape(*u.shape[:-2], -1), v.reshape(*v.shape[:-2], -1)
    size = np.hypot(u, v)
    bins = np.floor((np.arctan2(v, u) / (2 * np.pi) + 0.5 / n_bins) * n_bins).astype(int) % n_bins
    member = bins[..., None, :] == np.arange(n_bins)[:, None]  # "... bin pixel"
    main = (member * size[..., None, :]).sum(-1).argmax(-1)
    chosen = np.take_along_axis(member, main[..., None, None], -2)[..., 0, :] & (size > 0)
    n = np.maximum(chosen.sum(-1), 1)
    return np.stack([(u * chosen).sum(-1) / n, (v * chosen).sum(-1) / n], -1)


def compute_mdmo(x: np.ndarray) -> np.ndarray:
    """Regions "clip time roi chan py px" (0 if masked) -> "clip feature", mean over the frames with motion."""
    motion = compute_main_motion(x)
    moving = np.abs(motion).sum((2, 3)) > 0
    mean = (motion * moving[..., None, None]).sum(1) / np.maximum(moving.sum(1), 1)[:, None, None]
    return mean.reshape(len(x), -1)


def fit_mdmo(train: RoiDataset, seed: int = 0) -> Predictor:
    """The support vector machine on MDMO features."""
    from sklearn.svm import SVC

    return fit_classifier(SVC(C=1.0, class_weight="balanced"), train, compute_mdmo)
