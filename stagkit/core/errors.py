"""Errors and warnings with a message for the user, and the import of optional libraries."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class StagkitError(Exception):
    """A mistake in what stagkit was given; the message says what was given, what was expected and what to do."""


class StagkitWarning(UserWarning):
    """A problem that does not stop the work."""


class MissingExtra(StagkitError, ImportError):
    """A library that only a part of stagkit needs is not installed, or cannot be imported."""


#: Optional library -> the extra of stagkit that installs it.
EXTRAS = {
    **dict.fromkeys(("IPython", "anywidget", "ipywidgets", "jupyterlab", "nbclient", "nbformat"), "notebooks"),
    **dict.fromkeys(("plotly", "psutil", "traitlets"), "notebooks"),
    **dict.fromkeys(("dask", "distributed"), "cluster"),
    "mediapipe": "landmarks",
}


def import_optional(name: str) -> ModuleType:
    """Import a library that an extra installs, e.g. ``"mediapipe.tasks.python"``; ``MissingExtra`` if that fails."""
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
