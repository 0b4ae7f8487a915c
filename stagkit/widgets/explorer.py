"""What the explorers share: traits that refuse wrong values in words, a page for a file, a picture for other readers."""

from __future__ import annotations

import base64
import io
import os
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import anywidget
import numpy as np
import traitlets

from stagkit.types import StagkitError
from stagkit.widgets.html import make_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Traits that anywidget gives every widget for its own text.
_MODULE = {"_esm", "_css", "_anywidget_id"}


class WidgetError(StagkitError, traitlets.TraitError):
    """A trait was set to something the explorer cannot show; its old value stands."""


def told(check: Callable, *args: object):
    """Run a check; what it says becomes a trait's error, so that the old value is kept."""
    try:
        return check(*args)
    except WidgetError:
        raise
    except StagkitError as error:
        raise WidgetError(str(error)) from None


def check_choice(name: str, value: object, options: tuple) -> None:
    """Raise unless ``value`` is one of ``options``."""
    if value not in options:
        shown = ", ".join(map(repr, options[:24])) + (f" ... ({len(options)} in all)" if len(options) > 24 else "")
        raise StagkitError(f"`{name}` is {value!r}, expected one of {shown}.")


def check_index(name: str, value: object, names: tuple[str, ...]) -> int:
    """Position of something given by number or by name.

    Raises:
        StagkitError: there is no such thing.
    """
    if isinstance(value, str):
        check_choice(name, value, tuple(names))
        return tuple(names).index(value)
    if isinstance(value, bool) or not 0 <= int(value) < len(names):
        raise StagkitError(f"`{name}` is {value}, expected 0..{len(names) - 1} (or a name, e.g. {names[0]!r}).")
    return int(value)


def deflate(array: np.ndarray) -> str:
    """Bytes of an array, compressed (zlib), base64: what ``inflate`` in ``explorer.js`` reads."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 5)).decode("ascii")


def shorten(values: np.ndarray, digits: int = 4) -> list:
    """Nested lists of rounded numbers; None where there is none (NaN)."""
    array = np.round(np.asarray(values, float), digits)
    return np.where(np.isnan(array), None, array).tolist()


class Explorer(anywidget.AnyWidget):
    """Base of the explorers. A subclass gives its traits, ``to_figure`` and ``to_html``."""

    #: Put a still picture beside the widget, for GitHub and other readers that run no widget.
    png_fallback = True

    playing = traitlets.Bool(False).tag(sync=True)

    #: What a saved page has of other choices: key -> payload; empty where Python answers.
    _saved = traitlets.Dict().tag(sync=True)
    _live = traitlets.Bool(True).tag(sync=True)
    #: What went wrong in the last computation, in words; '' = nothing.
    _problem = traitlets.Unicode("").tag(sync=True)

    def to_figure(self) -> Figure:
        """What is shown now as a matplotlib Figure."""
        raise NotImplementedError

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do work that a click has asked for; what goes wrong is told in the browser, where it would be lost."""
        try:
            work()
            self._problem = ""
        except StagkitError as error:
            self._problem = str(error)
        except Exception as error:
            self._problem = f"this failed: {type(error).__name__}: {error}"

    def _save(self, title: str, changes: Mapping[str, object], path: str | os.PathLike | None) -> str:
        """The explorer as a page without Python: the traits as they stand, with ``changes``."""
        names = set(self.traits(sync=True)) - set(anywidget.AnyWidget.class_traits()) - _MODULE
        state = {name: getattr(self, name) for name in names}
        state |= {"_live": False, "playing": False, "_problem": "", **changes}
        return make_page(str(self._esm), str(self._css), state, title=title, path=path)

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None or not self.png_fallback:
            return bundle
        file = io.BytesIO()
        try:
            self.to_figure().savefig(file, format="png", dpi=80)
        except StagkitError:  # no still picture of this state (a map that must not be drawn): the widget says why
            return bundle
        bundle[0]["image/png"] = base64.b64encode(file.getvalue()).decode("ascii")
        return bundle
