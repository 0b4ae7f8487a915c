"""Images as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from stagkit.core.errors import StagkitError
from stagkit.core.files import shorten, write_atomically


def encode_image(ending: str, image: np.ndarray, params: Sequence[int] = (), name: str = "the picture") -> bytes:
    """A picture as the bytes of a file.

    Args:
        ending: ``".png"``, ``".jpg"``, ``".webp"``, ...
        image: uint8 "y x" grey or "y x chan" in OpenCV's order blue, green, red.
        params: OpenCV's ``imwrite`` flags.
        name: for the message.

    Raises:
        StagkitError: it cannot be encoded.
    """
    try:
        encoded, data = cv2.imencode(ending, image, list(params))
    except cv2.error as error:
        raise StagkitError(f"{name} cannot be encoded as a picture: {shorten(str(error))}.") from error
    if not encoded:
        raise StagkitError(f"{name} cannot be encoded as a picture of shape {np.shape(image)}.")
    return data.tobytes()


def write_image(path: str | Path, image: np.ndarray, params: Sequence[int] = ()) -> None:
    """Write a picture, whole or not at all; the ending of ``path`` decides the format.

    Args:
        path: any name that the system allows, also with other than ASCII characters.
        image: uint8 "y x" grey or "y x chan" in OpenCV's order blue, green, red.
        params: OpenCV's ``imwrite`` flags, e.g. ``(cv2.IMWRITE_JPEG_QUALITY, 95)``.

    Raises:
        StagkitError: the picture cannot be encoded or written.
    """
    path = Path(path)
    data = encode_image(path.suffix, image, params, str(path))
    with write_atomically(path) as aside:
        aside.write_bytes(data)
