"""The figures and tables of a paper, drawn from what is on disk: runs, their explanations, ablations, tables of systems.

``inputs`` opens the folders; ``pipeline``, ``motion``, ``graphs``, ``scores`` and ``evidence`` hold one function for each
numbered figure (``fig_NN_name(inputs, width) -> Figure``); ``tables`` makes LaTeX; ``make`` writes all of it; ``overview``
shows the set at a glance. No network is ever asked: what a figure shows can be read in the files that its side-car names.
"""

from importlib import import_module as _import_module

_PUBLIC = {
    "Inputs": "inputs",
    "load_inputs": "inputs",
    "FIGURES": "make",
    "make_figures": "make",
    "make_tables": "tables",
    "plot_set": "overview",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(_import_module(f"stagkit.reports.paper.{_PUBLIC[name]}"), name)
    raise AttributeError(f"stagkit.reports.paper has no {name!r}; its public names are {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return __all__
