"""What ``stagkit doctor`` looks at: every library is imported and does a small piece of work, the environment is checked.

Nothing of stagkit that needs one of these libraries is imported here, so that a broken one can be named.
"""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path

from stagkit.core.errors import EXTRAS, import_optional

#: Distributions that all install the folder ``cv2``: only one may be there.
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")

#: The one that stagkit needs.
OPENCV_NEEDED = "opencv-contrib-python-headless"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        name: of the library or the thing.
        text: what was found.
        ok: whether it works; None where it is absent and not needed.
    """

    name: str
    text: str
    ok: bool | None = True


def _use_numpy(numpy) -> None:
    assert numpy.allclose(numpy.linalg.solve([[2.0, 0], [0, 4]], [2, 4]), 1)


def _use_scipy(scipy) -> None:
    interpolate = import_module("scipy.interpolate")
    assert abs(float(interpolate.CubicSpline([0, 1, 2], [0, 1, 2])(1.5)) - 1.5) < 1e-9


def _use_pandas(pandas) -> None:
    assert pandas.DataFrame({"a": [1, 1], "b": [2, 4]}).groupby("a")["b"].mean()[1] == 3


def _use_pyarrow(pyarrow) -> None:
    parquet, file = import_module("pyarrow.parquet"), io.BytesIO()
    parquet.write_table(pyarrow.table({"a": [1, 2]}), file)
    assert parquet.read_table(io.BytesIO(file.getvalue())).num_rows == 2


def _use_cv2(cv2) -> None:
    numpy = import_module("numpy")
    still = cv2.GaussianBlur(numpy.random.default_rng(0).integers(0, 255, (64, 64), dtype=numpy.uint8), (0, 0), 3)
    still = cv2.normalize(still, None, 0, 255, cv2.NORM_MINMAX)
    flow = cv2.DISOpticalFlow_create().calc(still, numpy.roll(still, 1, 1), None)
    assert abs(float(numpy.median(flow[16:48, 16:48, 0])) - 1) < 0.5, "the flow of a shift by 1 px is not 1 px"
    encoded, data = cv2.imencode(".png", still)
    assert encoded and (cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) == still).all(), "a picture is not read as written"
    cv2.optflow.DualTVL1OpticalFlow_create()
    assert callable(cv2.VideoCapture)


def _use_torch(torch) -> None:
    x = torch.ones(3, requires_grad=True)
    (x @ torch.full((3,), 2.0)).backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def _use_geometric(geometric) -> None:
    torch, utils = import_module("torch"), import_module("torch_geometric.utils")
    assert utils.softmax(torch.zeros(2), torch.tensor([0, 0])).tolist() == [0.5, 0.5]


def _use_captum(captum) -> None:
    torch, attr = import_module("torch"), import_module("captum.attr")
    assert attr.IntegratedGradients(lambda x: x.sum(1)).attribute(torch.ones(1, 2)).shape == (1, 2)


def _use_sklearn(sklearn) -> None:
    svm = import_module("sklearn.svm")
    assert svm.SVC().fit([[0.0], [1.0]], [0, 1]).predict([[0.9]])[0] == 1


def _use_matplotlib(matplotlib) -> None:
    figure, file = import_module("matplotlib.figure").Figure(figsize=(1, 1)), io.BytesIO()
    figure.add_subplot().plot([0, 1])
    figure.savefig(file, format="pdf")
    assert file.getvalue().startswith(b"%PDF")


def _use_safetensors(safetensors) -> None:
    numpy, files = import_module("numpy"), import_module("safetensors.numpy")
    assert files.load(files.save({"a": numpy.ones(2)}))["a"].sum() == 2


def _use_openpyxl(openpyxl) -> None:
    file, book = io.BytesIO(), openpyxl.Workbook()
    book.active.append(["a"])
    book.save(file)
    assert openpyxl.load_workbook(io.BytesIO(file.getvalue())).active["A1"].value == "a"


def _use_networkx(networkx) -> None:
    assert networkx.shortest_path_length(networkx.path_graph(3), 0, 2) == 2


def _use_yaml(yaml) -> None:
    assert yaml.safe_load("a: [1, 2]") == {"a": [1, 2]}


def _use_joblib(joblib) -> None:
    assert joblib.Parallel(n_jobs=1)(joblib.delayed(abs)(n) for n in (-1, 2)) == [1, 2]


def _use_einops(einops) -> None:
    assert einops.rearrange(import_module("numpy").zeros((2, 3)), "a b -> b a").shape == (3, 2)


def _use_anywidget(anywidget) -> None:
    class Tiny(anywidget.AnyWidget):
        _esm = "export default { render() {} }"

    Tiny().close()


def _use_ipywidgets(ipywidgets) -> None:
    ipywidgets.Label("a").close()


def _use_nbformat(nbformat) -> None:
    nbformat.validate(nbformat.v4.new_notebook())


def _use_nbclient(nbclient) -> None:
    nbclient.NotebookClient(import_optional("nbformat").v4.new_notebook())


def _use_plotly(plotly) -> None:
    assert import_module("plotly.graph_objects").Figure().to_json()


def _use_psutil(psutil) -> None:
    assert psutil.Process().memory_info().rss > 0


def _use_mediapipe(mediapipe) -> None:
    numpy = import_module("numpy")
    picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=numpy.zeros((8, 8, 3), numpy.uint8))
    assert picture.width == 8
    import_module("mediapipe.tasks.python.vision")


def _use_distributed(distributed) -> None:
    protocol = import_module("distributed.protocol")
    assert protocol.deserialize(*protocol.serialize(3)) == 3
    assert distributed.Client and distributed.LocalCluster


def _import_only(module) -> None:
    assert module


#: Distribution -> (module, a small piece of work with it).
REQUIRED: dict[str, tuple[str, Callable]] = {
    "numpy": ("numpy", _use_numpy),
    OPENCV_NEEDED: ("cv2", _use_cv2),
    "torch": ("torch", _use_torch),
    "torch-geometric": ("torch_geometric", _use_geometric),
    "captum": ("captum", _use_captum),
    "scikit-learn": ("sklearn", _use_sklearn),
    "scipy": ("scipy", _use_scipy),
    "pandas": ("pandas", _use_pandas),
    "pyarrow": ("pyarrow", _use_pyarrow),
    "matplotlib": ("matplotlib", _use_matplotlib),
    "seaborn": ("seaborn", _import_only),
    "networkx": ("networkx", _use_networkx),
    "openpyxl": ("openpyxl", _use_openpyxl),
    "safetensors": ("safetensors", _use_safetensors),
    "joblib": ("joblib", _use_joblib),
    "einops": ("einops", _use_einops),
    "pyyaml": ("yaml", _use_yaml),
    "filelock": ("filelock", _import_only),
}
OPTIONAL: dict[str, tuple[str, Callable]] = {
    "anywidget": ("anywidget", _use_anywidget),
    "ipywidgets": ("ipywidgets", _use_ipywidgets),
    "jupyterlab": ("jupyterlab", _import_only),
    "nbclient": ("nbclient", _use_nbclient),
    "nbformat": ("nbformat", _use_nbformat),
    "plotly": ("plotly", _use_plotly),
    "psutil": ("psutil", _use_psutil),
    "mediapipe": ("mediapipe", _use_mediapipe),
    "distributed": ("distributed", _use_distributed),
}


def find_version(distribution: str) -> str:
    """Installed version of a distribution, '' where there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def find_opencv() -> list[str]:
    """The installed distributions that bring ``cv2``, with their versions, e.g. ``["opencv-python 4.10.0.84"]``."""
    found = {(d.metadata["Name"] or "").lower().replace("_", "-"): d.version for d in metadata.distributions()}
    bring = {name.lower().replace("_", "-") for name in metadata.packages_distributions().get("cv2", [])}
    return [f"{name} {found[name]}" for name in sorted(found) if name in bring or name in OPENCV]


def check_library(distribution: str, module: str, use: Callable) -> Finding:
    """Import a library and let it work; whatever goes wrong is the finding."""
    version, extra = find_version(distribution), EXTRAS.get(module)
    remedy = f"pip install 'stagkit[{extra}]'" if extra else f"pip install {distribution}"
    try:
        missing = util.find_spec(module) is None
    except (ImportError, ValueError):  # a module that was blocked
        missing = True
    if missing:
        return Finding(distribution, f"not installed: {remedy}", None if extra else False)
    try:
        use(import_module(module))
    except Exception as error:
        first = " ".join(str(error).split())[:200]
        reason = f"{type(error).__name__}: {first}" if first else type(error).__name__
        return Finding(
            distribution,
            f"{version or 'unknown version'}  does not work ({reason}): pip install --force-reinstall {distribution}",
            False,
        )
    return Finding(distribution, version or "works, version unknown")


def check_libraries() -> list[Finding]:
    """Every library of stagkit, required ones first, and whether several OpenCVs overwrite each other."""
    findings = [check_library(name, *how) for name, how in {**REQUIRED, **OPTIONAL}.items()]
    several = find_opencv()
    if len(several) > 1:
        names = " ".join(entry.partition(" ")[0] for entry in several)
        findings.append(
            Finding(
                "OpenCV",
                f"{len(several)} distributions write the same folder cv2 ({', '.join(several)}), and one breaks the other: "
                f"pip uninstall {names}, then pip install {OPENCV_NEEDED}",
                False,
            )
        )
    return findings


def check_device() -> Finding:
    """What folds train on."""
    try:
        torch = import_module("torch")
        if torch.cuda.is_available():
            return Finding("device", f"{torch.cuda.get_device_name(0)} (folds train on it)")
    except Exception as error:  # a broken torch is named among the libraries
        return Finding("device", f"not known, torch does not work ({type(error).__name__})", False)
    return Finding(
        "device", f"cpu, {os.cpu_count()} cores (no CUDA GPU found: folds train in {os.cpu_count()} processes)"
    )


def check_data_root() -> Finding:
    """Where real data sets are."""
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
    """Everything, in the order in which it is shown."""
    python = Finding("python", f"{platform.python_version()} on {platform.system()}")
    stagkit = Finding("stagkit", find_version("stagkit") or "not installed (used from its folder)")
    return [python, stagkit, *check_libraries(), check_device(), check_data_root()]
