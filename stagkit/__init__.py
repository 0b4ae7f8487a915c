"""stagkit: interactive analysis and explainability for micro-expression recognition with the STAG network.

The public names below are loaded when first used; importing stagkit reads no file and loads no heavy library.
"""

from importlib import import_module as _import_module

__version__ = "0.1.0"

#: public name -> module that holds it
_PUBLIC = {
    "Attribution": "types",
    "Batch": "types",
    "Clip": "types",
    "FlowClip": "types",
    "RoiDataset": "types",
    "RoiSequence": "types",
    "StagOutput": "types",
    "StagkitError": "types",
    "FlowConfig": "config",
    "PhantomConfig": "config",
    "RoiConfig": "config",
    "StagConfig": "config",
    "TrainConfig": "config",
    "ACTION_UNITS": "facs",
    "parse_aus": "facs",
    "ATLAS": "rois",
    "make_clip": "phantom",
    "compute_flow": "flow",
    "compute_rois": "flow",
    "open_source": "datasets",
    "check_data": "data_check",
    "animate_photo": "phantom_photo",
    "load_data": "prepare",
    "Stag": "model",
    "evaluate": "folds",
    "Run": "runs",
    "attribute": "explain",
    "Evidence": "evidence",
    "make_evidence": "evidence",
    "analyze_video": "analyze",
    "load_weights": "weights",
    "plot_au_graph": "widgets",
    "view_au_graph": "widgets",
    "plot_puppet": "widgets",
    "view_puppet": "widgets",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(_import_module(f"stagkit.{_PUBLIC[name]}"), name)
    raise AttributeError(f"stagkit has no {name!r}; its public names are {', '.join(sorted(_PUBLIC))}.")


def __dir__() -> list[str]:
    return __all__
