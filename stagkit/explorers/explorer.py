"""Base of the explorers: kinds of traits, saved page, PNG for readers that run no widgets."""

from __future__ import annotations

import base64
import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from stagkit.core.errors import import_optional
from stagkit.core.types import StagkitError
from stagkit.explorers.page import make_explorer_page
from stagkit.explorers.validation import check_choice, check_frame, check_range
from stagkit.plots.style import render_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

anywidget = import_optional("anywidget")
traitlets = import_optional("traitlets")

#: Traits that anywidget gives every widget for its own text.
_MODULE = {"_esm", "_css", "_anywidget_id"}


class WidgetError(StagkitError, traitlets.TraitError):
    """A trait was set to something the explorer cannot show; the trait keeps its value."""


def checked(check: Callable, *args: object):
    """Run a check; its error becomes a ``WidgetError``, so that the trait keeps its value."""
    try:
        return check(*args)
    except StagkitError as error:
        raise WidgetError(str(error)) from None


class Choice(traitlets.TraitType):
    """A synced trait with a list of options: a tuple, or a function explorer -> tuple."""

    def __init__(self, default: object, options: tuple | Callable):
        super().__init__(default)
        self.options = options
        self.tag(sync=True)

    def validate(self, explorer, value):
        """The value, if it is an option."""
        checked(check_choice, self.name, value, self.options(explorer) if callable(self.options) else self.options)
        return value


class Range(traitlets.Float):
    """A synced number between ``low`` and ``high``; ``meaning`` says in an error what it is."""

    def __init__(self, default: float, low: float, high: float, meaning: str = ""):
        super().__init__(default)
        self.limits = low, high, meaning
        self.tag(sync=True)

    def validate(self, explorer, value):
        """The value, if it is in the range."""
        value = super().validate(explorer, value)
        checked(check_range, self.name, value, *self.limits)
        return value


class Explorer(anywidget.AnyWidget):
    """Base of the explorers. A subclass gives its traits, ``to_figure()`` (the present state) and ``to_html(path)``."""

    #: Whether a PNG is made for GitHub and other readers that run no widget, and its dots per inch.
    png_fallback, png_dpi = True, 80

    playing = traitlets.Bool(False).tag(sync=True)

    #: Other choices kept in a saved page: key -> payload.
    _saved = traitlets.Dict().tag(sync=True)
    #: Whether Python is connected: False in a saved page.
    _live = traitlets.Bool(True).tag(sync=True)
    #: Error message of the last computation; '' = none.
    _problem = traitlets.Unicode("").tag(sync=True)

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None and self.png_fallback:
            try:
                png = render_png(self.to_figure(), type(self).__name__, dpi=self.png_dpi)
            except StagkitError:  # a state that must not be drawn: the widget says why
                return bundle
            bundle[0]["image/png"] = base64.b64encode(png).decode("ascii")
        return bundle

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do work that a click asked for; an error is shown in the browser, where an exception would be lost."""
        try:
            work()
            self._problem = ""
        except Exception as error:
            known = isinstance(error, StagkitError)
            self._problem = str(error) if known else f"this failed: {type(error).__name__}: {error}"

    def _save(self, title: str, changes: Mapping, path: str | os.PathLike | None, follow: Mapping | None = None) -> str:
        """The explorer as a page without Python: its traits with ``changes``; ``follow`` as for ``make_explorer_page``."""
        names = set(self.traits(sync=True)) - set(anywidget.AnyWidget.class_traits()) - _MODULE
        state = {name: getattr(self, name) for name in names}
        state |= {"_live": False, "playing": False, "_problem": "", **changes}
        page = make_explorer_page(str(self._esm), str(self._css), state, title=title, follow=follow)
        if path is not None:
            page.save(path)
        return page.html


def as_figure(explorer: type[Explorer]) -> Callable[..., Figure]:
    """``plot_*`` of a ``view_*``: the same arguments, drawn as a matplotlib Figure."""

    def plot(*args: object, **kwargs: object) -> Figure:
        return explorer(*args, **kwargs).to_figure()

    plot.__signature__ = inspect.signature(explorer)
    plot.__doc__ = f"The state that ``{explorer.__name__}`` shows, as a matplotlib Figure; arguments as there."
    return plot


class ClipExplorer(Explorer):
    """An explorer of one clip at a time.

    A subclass gives ``_find_clip(clip)``: index of a clip that can be shown, given by number or id, or StagkitError; and
    ``_count_frames()``: id and number of frames of the clip shown.
    """

    clip = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)

    #: The lowest frame: -1 where that stands for all frames together.
    _first_frame = 0

    @traitlets.validate("clip")
    def _valid_clip(self, proposal):
        return checked(self._find_clip, proposal["value"])

    @traitlets.validate("frame")
    def _valid_frame(self, proposal):
        return checked(check_frame, proposal["value"], *self._count_frames(), self._first_frame)
