"""Images as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from stagkit.core.errors import StagkitError
from stagkit.core.files import shorten, write_atomically


def encode_image(ending: str, image: np.ndarray, params: Sequence[int] = (), name: str = "the image") -> bytes:
    """An image, uint8 "y x" grey or "y x chan" in OpenCV's order blue, green, red, as the bytes of a file.

    Args:
        ending: ``".png"``, ``".jpg"``, ``".webp"``, ...; params: OpenCV's ``imwrite`` flags; name: for the message.
    """
    try:
        encoded, data = cv2.imencode(ending, image, list(params))
    except cv2.error as error:
        raise StagkitError(f"{name} cannot be encoded as an image: {shorten(str(error))}.") from error
    if not encoded:
        raise StagkitError(f"{name} cannot be encoded as an image of shape {np.shape(image)}.")
    return data.tobytes()


def write_image(path: str | Path, image: np.ndarray, params: Sequence[int] = ()) -> None:
    """Write an image as ``encode_image`` does, whole or not at all; the ending of ``path`` (any name) is the format."""
    path = Path(path)
    data = encode_image(path.suffix, image, params, str(path))
    with write_atomically(path) as temporary:
        temporary.write_bytes(data)
