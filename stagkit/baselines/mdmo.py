"""MDMO (Liu et al. 2016, doi:10.1109/TAFFC.2015.2485205): main directional mean optical flow of facial regions, with an SVM.

In every region the flow vectors are sorted into eight directions; the mean vector of the fullest bin stands for the region,
averaged over the frames of the clip. stagkit's choice: stagkit's 22 regions in place of 36; vectors as (u, v) in place of
length and angle, which jumps at 180 degrees; a bin is filled by the length of its vectors, so that still pixels do not vote;
a Gaussian kernel with C = 1 and balanced classes.
"""

from __future__ import annotations

import numpy as np

from stagkit.baselines.plain import Answer, _fit_sklearn
from stagkit.core.types import RoiDataset


def compute_main_motion(patches: np.ndarray, n_bins: int = 8) -> np.ndarray:
    """Mean flow of the main direction of each patch.

    Args:
        patches: float "... chan py px", chan = (u, v, ...).
        n_bins: directions; the first is centred on 'right'.

    Returns:
        float "... 2", in the unit of ``patches``.

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
    """Regions "clip time roi chan py px" (0 where nothing is seen) -> "clip feature", mean over the frames with motion."""
    motion = compute_main_motion(x)
    seen = np.abs(motion).sum((2, 3)) > 0
    mean = (motion * seen[..., None, None]).sum(1) / np.maximum(seen.sum(1), 1)[:, None, None]
    return mean.reshape(len(x), -1)


def fit_mdmo(known: RoiDataset, seed: int = 0) -> Answer:
    """The support vector machine on MDMO features."""
    from sklearn.svm import SVC

    return _fit_sklearn(SVC(C=1.0, class_weight="balanced"), known, compute_mdmo)
