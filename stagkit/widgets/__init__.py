"""Explorers that are touched: each a class with traits and one plain ES module, loaded when first used."""

from importlib import import_module as _import_module

#: public name -> module that holds it; only ``au_graph`` and ``puppet`` need anywidget, and ``moving_face`` traitlets
_PUBLIC = {
    "Scene": "scene",
    "compute_scene": "scene",
    "AUGraph": "au_graph",
    "MovingFace": "moving_face",
    "view_au_graph": "au_graph",
    "plot_au_graph": "au_graph_plot",
    "make_page": "html",
    "read_esm": "modules",
    "read_css": "modules",
    "Source": "sources",
    "RunSource": "sources",
    "OutputSource": "sources",
    "as_source": "sources",
    "Puppet": "puppet",
    "view_puppet": "puppet",
    "plot_puppet": "puppet_plot",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(_import_module(f"stagkit.widgets.{_PUBLIC[name]}"), name)
    raise AttributeError(f"stagkit.widgets has no {name!r}; its public names are {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return __all__
