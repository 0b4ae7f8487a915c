"""stagkit: interactive analysis and explainability for micro-expression recognition with the STAG network.

The public names below are loaded when first used; importing stagkit reads no file and loads no heavy library.
"""

from importlib import import_module as _import_module

__version__ = "0.1.0"

#: public name -> module that holds it
_PUBLIC = {
    "Attribution": "explain.aggregate",
    "Batch": "core.types",
    "Clip": "core.types",
    "FlowClip": "motion.optical_flow",
    "RoiDataset": "core.types",
    "RoiSequence": "motion.rois",
    "StagOutput": "core.types",
    "StagkitError": "core.types",
    "FlowConfig": "motion.config",
    "PhantomConfig": "synthetic.config",
    "RoiConfig": "motion.config",
    "StagConfig": "core.config",
    "TrainConfig": "core.config",
    "ACTION_UNITS": "core.facs",
    "parse_aus": "datasets.au_codes",
    "ATLAS": "core.regions",
    "make_clip": "synthetic.clip",
    "make_sequences": "synthetic.sequences",
    "make_planted_graph": "synthetic.relations",
    "hide_regions": "synthetic.occlusion",
    "compute_flow": "motion.optical_flow",
    "compute_rois": "motion.optical_flow",
    "open_source": "datasets",
    "check_data": "datasets.check",
    "animate_photo": "synthetic.photo",
    "load_data": "datasets.prepare",
    "Stag": "network.model",
    "evaluate": "evaluation.evaluate",
    "Run": "evaluation.run",
    "attribute": "explain.attribution",
    "tabulate_terms": "explain.exact_terms",
    "Evidence": "explain.evidence",
    "make_evidence": "explain.evidence",
    "analyze_video": "inference.analyze",
    "save_analysis": "reports.analysis",
    "load_weights": "inference.pretrained",
    "plot_au_graph": "explorers",
    "view_au_graph": "explorers",
    "plot_puppet": "explorers",
    "view_puppet": "explorers",
    "plot_flow": "explorers",
    "view_flow": "explorers",
    "plot_evidence": "explorers",
    "view_evidence": "explorers",
    "plot_run": "explorers",
    "view_run": "explorers",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(_import_module(f"stagkit.{_PUBLIC[name]}"), name)
    raise AttributeError(f"stagkit has no {name!r}; its public names are {', '.join(sorted(_PUBLIC))}.")


def __dir__() -> list[str]:
    return __all__
