"""Checks of ``stagkit doctor``: every library is imported and does a small piece of work; device and data root.

No module of stagkit that needs one of these libraries is imported here, so that a broken library can be named.
"""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Callable
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


def _use_cv2(cv2) -> bool:
    numpy = import_module("numpy")
    first = cv2.GaussianBlur(numpy.random.default_rng(0).integers(0, 255, (64, 64), dtype=numpy.uint8), (0, 0), 3)
    first = cv2.normalize(first, None, 0, 255, cv2.NORM_MINMAX)
    flow = cv2.DISOpticalFlow_create().calc(first, numpy.roll(first, 1, 1), None)
    encoded, data = cv2.imencode(".png", first)
    cv2.optflow.DualTVL1OpticalFlow_create()
    return (
        abs(float(numpy.median(flow[16:48, 16:48, 0])) - 1) < 0.5  # shifted by 1 px
        and encoded
        and (cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) == first).all()
        and callable(cv2.VideoCapture)
    )


def _use_captum(_) -> bool:
    torch, attr = import_module("torch"), import_module("captum.attr")
    return attr.IntegratedGradients(lambda x: x.sum(1)).attribute(torch.ones(1, 2)).shape == (1, 2)


def _use_geometric(_) -> bool:
    torch, utils = import_module("torch"), import_module("torch_geometric.utils")
    return utils.softmax(torch.zeros(2), torch.tensor([0, 0])).tolist() == [0.5, 0.5]


def _use_matplotlib(_) -> bool:
    figure, file = import_module("matplotlib.figure").Figure(figsize=(1, 1)), io.BytesIO()
    figure.add_subplot().plot([0, 1])
    figure.savefig(file, format="pdf")
    return file.getvalue().startswith(b"%PDF")


def _use_openpyxl(openpyxl) -> bool:
    file, book = io.BytesIO(), openpyxl.Workbook()
    book.active.append(["a"])
    book.save(file)
    return openpyxl.load_workbook(io.BytesIO(file.getvalue())).active["A1"].value == "a"


def _use_safetensors(_) -> bool:
    numpy, files = import_module("numpy"), import_module("safetensors.numpy")
    return files.load(files.save({"a": numpy.ones(2)}))["a"].sum() == 2


def _use_mediapipe(mediapipe) -> bool:
    numpy = import_module("numpy")
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=numpy.zeros((8, 8, 3), numpy.uint8))
    return image.width == 8 and bool(import_module("mediapipe.tasks.python.vision"))


def _use_distributed(distributed) -> bool:
    protocol = import_module("distributed.protocol")
    return protocol.deserialize(*protocol.serialize(3)) == 3 and bool(distributed.Client and distributed.LocalCluster)


#: Distribution -> (module, a small piece of work with it: True if the result is right; ``bool``: it is imported only).
REQUIRED: dict[str, tuple[str, Callable[..., bool]]] = {
    "numpy": ("numpy", lambda m: m.linalg.solve([[2.0, 0], [0, 4]], [2, 4]).tolist() == [1, 1]),
    OPENCV_NEEDED: ("cv2", _use_cv2),
    "torch": ("torch", lambda m: m.func.grad(lambda x: x @ x)(m.ones(2)).tolist() == [2, 2]),
    "torch-geometric": ("torch_geometric", _use_geometric),
    "captum": ("captum", _use_captum),
    "scikit-learn": ("sklearn", lambda _: import_module("sklearn.metrics").roc_auc_score([0, 1], [0.2, 0.7]) == 1),
    "scipy": ("scipy", lambda _: import_module("scipy.interpolate").CubicSpline([0, 1, 2], [0, 1, 2])(1.5) == 1.5),
    "pandas": ("pandas", lambda m: m.DataFrame({"a": [1, 1], "b": [2, 4]}).groupby("a")["b"].mean()[1] == 3),
    "matplotlib": ("matplotlib", _use_matplotlib),
    "seaborn": ("seaborn", bool),
    "networkx": ("networkx", lambda m: m.shortest_path_length(m.path_graph(3), 0, 2) == 2),
    "openpyxl": ("openpyxl", _use_openpyxl),
    "safetensors": ("safetensors", _use_safetensors),
    "joblib": ("joblib", lambda m: m.Parallel(n_jobs=1)(m.delayed(abs)(n) for n in (-1, 2)) == [1, 2]),
    "einops": ("einops", lambda m: m.rearrange(import_module("numpy").zeros((2, 3)), "a b -> b a").shape == (3, 2)),
    "pyyaml": ("yaml", lambda m: m.safe_load("a: [1, 2]") == {"a": [1, 2]}),
    "filelock": ("filelock", bool),
}
OPTIONAL: dict[str, tuple[str, Callable[..., bool]]] = {
    "anywidget": ("anywidget", lambda m: bool(type("Tiny", (m.AnyWidget,), {"_esm": "export default {}"})())),
    "ipywidgets": ("ipywidgets", lambda m: m.Label("a").value == "a"),
    "jupyterlab": ("jupyterlab", bool),
    "nbclient": ("nbclient", lambda m: bool(m.NotebookClient(import_module("nbformat").v4.new_notebook()))),
    "nbformat": ("nbformat", lambda m: m.validate(m.v4.new_notebook()) is None),
    "plotly": ("plotly", lambda _: bool(import_module("plotly.graph_objects").Figure().to_json())),
    "psutil": ("psutil", lambda m: m.Process().memory_info().rss > 0),
    "mediapipe": ("mediapipe", _use_mediapipe),
    "distributed": ("distributed", _use_distributed),
}


def find_version(distribution: str) -> str:
    """Installed version of a distribution, '' if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def check_library(distribution: str, module: str, use: Callable[..., bool]) -> Finding:
    """Import a library and let it work; any error is the finding."""
    version, extra = find_version(distribution), EXTRAS.get(module)
    remedy = f"pip install 'stagkit[{extra}]'" if extra else f"pip install {distribution}"
    try:
        missing = util.find_spec(module) is None
    except (ImportError, ValueError):  # a module that was blocked
        missing = True
    if missing:
        return Finding(distribution, f"not installed: {remedy}", None if extra else False)
    try:
        reason = "" if use(import_module(module)) else "wrong result"
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
