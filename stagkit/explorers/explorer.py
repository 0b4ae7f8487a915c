"""What the explorers share: a page for a file, a picture for other readers, words for what went wrong."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from stagkit.core.errors import import_optional
from stagkit.core.types import StagkitError
from stagkit.explorers.page import make_explorer_page
from stagkit.plots.style import render_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

anywidget = import_optional("anywidget")
traitlets = import_optional("traitlets")

#: Traits that anywidget gives every widget for its own text.
_MODULE = {"_esm", "_css", "_anywidget_id"}


class PicturedWidget(anywidget.AnyWidget):
    """A widget with a still picture beside it, for GitHub and other readers that run no widget."""

    #: Whether the picture is made, and its dots an inch.
    png_fallback, png_dpi = True, 80

    def to_figure(self) -> Figure:
        """What is shown now as a matplotlib Figure."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None or not self.png_fallback:
            return bundle
        try:
            picture = render_png(self.to_figure(), type(self).__name__, dpi=self.png_dpi)
        except StagkitError:  # no still picture of this state (a map that must not be drawn): the widget says why
            return bundle
        bundle[0]["image/png"] = base64.b64encode(picture).decode("ascii")
        return bundle


class Explorer(PicturedWidget):
    """Base of the explorers. A subclass gives its traits, ``to_figure`` and ``to_html``."""

    playing = traitlets.Bool(False).tag(sync=True)

    #: What a saved page has of other choices: key -> payload; empty where Python answers.
    _saved = traitlets.Dict().tag(sync=True)
    _live = traitlets.Bool(True).tag(sync=True)
    #: What went wrong in the last computation, in words; '' = nothing.
    _problem = traitlets.Unicode("").tag(sync=True)

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
        page = make_explorer_page(str(self._esm), str(self._css), state, title=title)
        if path is not None:
            page.save(path)
        return page.html
