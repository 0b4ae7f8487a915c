r"""Rank pooling (dynamic images), and its form with the apex in the middle (MESTI): a clip as one image.

Approximate rank pooling (Bilen et al. 2016, doi:10.1109/CVPR.2016.331) adds, for every pair of frames, the later minus the
earlier. Written out, every frame t = 1..T of a clip gets one weight,

.. math:: b_t = 2t - T - 1 \quad\text{(on the frames)}, \qquad
    a_t = \sum_{k=t}^{T} \frac{2k - T - 1}{k} \quad\text{(on the means of all frames up to } k).

MESTI (arXiv:2509.00056; we worked from its abstract) is rank pooling about the apex a: of the frames 1..a, plus of
T..a read backwards. With T = 8 and a = 4 the weights are -3 -1 1 7 2 0 -2 -4. They sum to 0, a clip played backwards gives
the same image, and with the apex last it is rank pooling.
"""

from __future__ import annotations

import numpy as np

from stagkit.core.types import StagkitError


def compute_rank_weights(n_frames: int, prefix: bool = True) -> np.ndarray:
    """Weight of each of ``n_frames`` >= 1 in a dynamic image: float "time", summing to 0.

    A single frame weighs 0 (Bilen's code: 1, the frame itself). ``prefix`` ranks the means of all frames up to each (as
    Bilen et al. do), otherwise the frames themselves.

    Example:
        >>> compute_rank_weights(3).round(3), compute_rank_weights(4, prefix=False)
        (array([-1.333,  0.667,  0.667]), array([-3., -1.,  1.,  3.]))
    """
    if n_frames < 1:
        raise StagkitError(f"`n_frames` is {n_frames}: rank pooling needs at least one frame.")
    k = np.arange(1, n_frames + 1)
    ranks = (2 * k - n_frames - 1).astype(float)
    return np.cumsum((ranks / k)[::-1])[::-1].copy() if prefix else ranks


def compute_mesti_weights(n_frames: int, apex: int, prefix: bool = False) -> np.ndarray:
    """Weight of each frame in a MESTI with the apex at the 0-based place ``apex``: float "time", summing to 0.

    ``prefix``: as in ``compute_rank_weights``; means start at the onset in the first half, at the offset in the second.

    Example:
        >>> compute_mesti_weights(8, 3).astype(int).tolist()
        [-3, -1, 1, 7, 2, 0, -2, -4]
    """
    if not 0 <= apex < n_frames:
        raise StagkitError(f"the apex {apex} lies outside the {n_frames} frames of the clip (0-based).")
    weights = np.zeros(n_frames)
    weights[: apex + 1] += compute_rank_weights(apex + 1, prefix)
    weights[apex:] += compute_rank_weights(n_frames - apex, prefix)[::-1]
    return weights


def pool_frames(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Frames "time ..." -> one image "...": their weighted sum, divided by the sum of the positive weights.

    The image is in the unit of the frames, whatever the length of the clip (stagkit's choice).
    """
    return np.tensordot(weights / max(np.maximum(weights, 0).sum(), 1e-9), frames, axes=1)
