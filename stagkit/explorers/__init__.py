"""Interactive explorers: each a widget class with traits and one plain ES module, loaded when first used.

In: a run, an output or a clip. Out: a widget in a notebook, or one HTML page that needs no Python.
Start reading at ``au_graph/widget.py``.
"""

from importlib import import_module as _import_module

#: Public name -> module that holds it; the explorers need anywidget.
_PUBLIC = {
    "Scene": "au_graph.scene",
    "compute_scene": "au_graph.scene",
    "AUGraph": "au_graph.widget",
    "view_au_graph": "au_graph.widget",
    "plot_au_graph": "au_graph.figure",
    "Page": "page",
    "make_explorer_page": "page",
    "read_esm": "browser",
    "read_css": "browser",
    "Source": "sources",
    "RunSource": "sources",
    "OutputSource": "sources",
    "as_source": "sources",
    "Puppet": "puppet.widget",
    "view_puppet": "puppet.widget",
    "plot_puppet": "puppet.scene",
    "FlowExplorer": "flow.widget",
    "view_flow": "flow.widget",
    "plot_flow": "flow.widget",
    "EvidenceExplorer": "evidence.widget",
    "view_evidence": "evidence.widget",
    "plot_evidence": "evidence.widget",
    "RunBrowser": "run.widget",
    "view_run": "run.widget",
    "plot_run": "run.widget",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(_import_module(f"stagkit.explorers.{_PUBLIC[name]}"), name)
    raise AttributeError(f"stagkit.explorers has no {name!r}; its public names are {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return __all__
