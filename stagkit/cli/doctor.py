"""Checks of ``stagkit doctor``: every library is imported and has what stagkit uses; device and data root.

No module of stagkit that needs one of these libraries is imported here, so that a broken library can be named.
"""

from __future__ import annotations

import os
import platform
from importlib import import_module, metadata, util
from pathlib import Path
from typing import NamedTuple

from stagkit.core.errors import EXTRAS

#: Distributions that all install the folder ``cv2``: only one may be installed.
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
OPENCV_NEEDED = "opencv-contrib-python-headless"


class Finding(NamedTuple):
    """One line of the report; ``ok`` is None if something is absent and not needed."""

    name: str
    text: str
    ok: bool | None = True


#: Distribution -> names inside it that stagkit uses, the module first: each has to be there.
REQUIRED: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy", "linalg.solve", "random.default_rng"),
    OPENCV_NEEDED: (
        "cv2",
        "imdecode",
        "remap",
        "VideoCapture",
        "DISOpticalFlow_create",
        "optflow.DualTVL1OpticalFlow_create",
    ),
    "torch": ("torch", "nn.Module", "func.vmap"),
    "torch-geometric": ("torch_geometric", "nn.MessagePassing", "utils.softmax"),
    "captum": ("captum", "attr.IntegratedGradients", "metrics.infidelity"),
    "scikit-learn": ("sklearn", "metrics.roc_auc_score", "svm.SVC"),
    "scipy": ("scipy", "interpolate.CubicSpline", "optimize.nnls"),
    "pandas": ("pandas", "DataFrame.groupby"),
    "matplotlib": ("matplotlib", "figure.Figure.savefig", "backends.backend_pdf.FigureCanvasPdf"),
    "seaborn": ("seaborn", "heatmap"),
    "networkx": ("networkx", "DiGraph"),
    "openpyxl": ("openpyxl", "load_workbook"),
    "safetensors": ("safetensors", "torch.save_file"),
    "joblib": ("joblib", "Parallel"),
    "einops": ("einops", "rearrange"),
    "pyyaml": ("yaml", "SafeLoader"),
    "filelock": ("filelock", "FileLock"),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    "anywidget": ("anywidget", "AnyWidget"),
    "ipywidgets": ("ipywidgets", "VBox"),
    "jupyterlab": ("jupyterlab",),
    "nbclient": ("nbclient", "NotebookClient"),
    "nbformat": ("nbformat", "read"),
    "plotly": ("plotly", "graph_objects.Figure"),
    "psutil": ("psutil", "Process"),
    "mediapipe": ("mediapipe", "Image", "tasks.python.vision"),
    "distributed": ("distributed", "Client", "LocalCluster"),
}


def find(module: str, name: str) -> object:
    """What ``name`` inside a module is, e.g. ``linalg.solve`` of ``numpy``; modules on the way are imported."""
    found, path = import_module(module), module
    for part in name.split("."):
        path = f"{path}.{part}"
        try:
            found = import_module(path)
        except ModuleNotFoundError:
            found = getattr(found, part)
    return found


def find_version(distribution: str) -> str:
    """Installed version of a distribution, '' if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def check_library(distribution: str, module: str, *names: str) -> Finding:
    """Import a library and find the names that stagkit uses; any error is the finding."""
    version, extra = find_version(distribution), EXTRAS.get(module)
    remedy = f"pip install 'stagkit[{extra}]'" if extra else f"pip install {distribution}"
    try:
        missing = util.find_spec(module) is None
    except (ImportError, ValueError):  # a module that was blocked
        missing = True
    if missing:
        return Finding(distribution, f"not installed: {remedy}", None if extra else False)
    reason = ""
    try:
        import_module(module)
        for name in names:
            find(module, name)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(": ")
    if reason:
        remedy = f"pip install --force-reinstall {distribution}"
        return Finding(distribution, f"{version or 'unknown version'}  does not work ({reason}): {remedy}", False)
    return Finding(distribution, version or "works, version unknown")


def check_opencv() -> list[Finding]:
    """A finding if several of ``OPENCV`` are installed, which overwrite each other."""
    found = {(d.metadata["Name"] or "").lower().replace("_", "-"): d.version for d in metadata.distributions()}
    contain = {name.lower().replace("_", "-") for name in metadata.packages_distributions().get("cv2", [])}
    several = sorted(name for name in found if name in contain or name in OPENCV)
    if len(several) < 2:
        return []
    versions = ", ".join(f"{name} {found[name]}" for name in several)
    text = (
        f"{len(several)} distributions write the same folder cv2 ({versions}), and one breaks the other: "
        f"pip uninstall {' '.join(several)}, then pip install {OPENCV_NEEDED}"
    )
    return [Finding("OpenCV", text, False)]


def check_device() -> Finding:
    """The device that folds are trained on."""
    try:
        torch = import_module("torch")
        if torch.cuda.is_available():
            return Finding("device", f"{torch.cuda.get_device_name(0)} (folds train on it)")
    except Exception as error:  # a broken torch is named among the libraries
        return Finding("device", f"unknown, torch does not work ({type(error).__name__})", False)
    n = os.cpu_count()
    return Finding("device", f"cpu, {n} cores (no CUDA GPU found: folds train in {n} processes)")


def check_data_root() -> Finding:
    """The folder of real data sets, ``STAGKIT_DATA``."""
    root = os.environ.get("STAGKIT_DATA")
    if not root:
        return Finding("data", "STAGKIT_DATA is not set; phantoms need none (stagkit phantom OUT), see data_README.md")
    try:
        return Finding("data", f"{root}: {', '.join(sorted(p.name for p in Path(root).iterdir())) or 'empty'}")
    except FileNotFoundError:
        return Finding("data", f"STAGKIT_DATA is {root}: there is no such folder", None)
    except OSError as error:
        return Finding("data", f"STAGKIT_DATA is {root}: {error.strerror}", None)


def check_environment() -> list[Finding]:
    """All checks, in the order of the report."""
    python = Finding("python", f"{platform.python_version()} on {platform.system()}")
    stagkit = Finding("stagkit", find_version("stagkit") or "not installed (used from its folder)")
    libraries = [check_library(name, *how) for name, how in {**REQUIRED, **OPTIONAL}.items()]
    return [python, stagkit, *libraries, *check_opencv(), check_device(), check_data_root()]
