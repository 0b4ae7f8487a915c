"""The one family of errors that speak to a person, and the import of what is optional; light, as the command has to be."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class StagkitError(Exception):
    """A mistake in what stagkit was given; the message says what was given, what was expected and what to do."""


class StagkitWarning(UserWarning):
    """Something that goes on, but that a person should know; the command says it in one sentence."""


class MissingExtra(StagkitError, ImportError):
    """A library that only a part of stagkit needs is not installed, or cannot be imported."""


#: Optional library -> the extra of stagkit that installs it.
EXTRAS = {
    "IPython": "notebooks",
    "anywidget": "notebooks",
    "ipywidgets": "notebooks",
    "jupyterlab": "notebooks",
    "nbclient": "notebooks",
    "nbformat": "notebooks",
    "plotly": "notebooks",
    "psutil": "notebooks",
    "traitlets": "notebooks",
    "mediapipe": "landmarks",
    "dask": "cluster",
    "distributed": "cluster",
}


def import_optional(name: str) -> ModuleType:
    """Import a library that an extra installs, or one of its modules.

    Args:
        name: e.g. ``"anywidget"`` or ``"mediapipe.tasks.python"``; its first part is one of ``EXTRAS``.

    Raises:
        MissingExtra: it is not installed, or it is and cannot be imported.
    """
    library = name.partition(".")[0]
    remedy = f"pip install 'stagkit[{EXTRAS[library]}]'"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or library).partition(".")[0]
        needs = "" if missing == library else f", which {library} needs,"
        raise MissingExtra(f"{missing}{needs} is not installed: {remedy}.") from error
    except (ImportError, OSError) as error:
        first = str(error).partition("\n")[0][:200]
        raise MissingExtra(f"{library} is installed but cannot be imported ({first}): {remedy}.") from error
