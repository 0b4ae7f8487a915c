"""What a stranger gets: one lock, light imports."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from stagkit.core.errors import EXTRAS
from tests.lockfile import ROOT, make_environment, read_lock


def test_importing_stagkit_is_light():
    """No file is read, nothing printed, no heavy library loaded: that is what keeps it under 0.3 s."""
    code = (
        "import sys, stagkit; heavy = {'numpy', 'torch', 'cv2', 'matplotlib', 'captum', 'pandas', 'IPython', 'typer'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_help_is_light():
    code = (
        "import sys\nfrom stagkit import cli\n"
        "heavy = {'numpy', 'torch', 'cv2', 'matplotlib', 'pandas', 'yaml'}\nprint(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("extra", sorted(set(EXTRAS.values())))
def test_without_an_extra_its_name_is_in_the_sentence(extra):
    """Whatever public name is asked for: it works, or the sentence says which extra to install."""
    blocked = [name for name in EXTRAS if EXTRAS[name] == extra and name != "IPython"]
    calls = {
        "notebooks": "notebooks.load_notebook('x'), runner.measure_memory(1)",
        "landmarks": "landmarks.LandmarkFinder(landmarks.__file__),",
        "cluster": "parallel.connect('local:1').__enter__(),",
    }[extra]
    code = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        "import stagkit, stagkit.explorers\n"
        "from stagkit.core import parallel\nfrom stagkit.motion import landmarks\n"
        "from stagkit.course import notebooks, runner\n"
        "from stagkit.core.types import StagkitError\n"
        "for module in (stagkit, stagkit.explorers) if 'traitlets' in sys.modules else ():\n"
        "    for name in module.__all__:\n"
        "        try: getattr(module, name)\n"
        "        except StagkitError as error: print(name, error)\n"
        f"for call in {calls.split(', ')!r}:\n"
        "    try: eval(call.strip(','))\n"
        "    except StagkitError as error: print('called', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert not done.returncode, done.stderr[-2000:]
    sentences = done.stdout.splitlines()
    assert sum(line.startswith("called") for line in sentences) == len(calls.strip(",").split(", "))
    assert all(f"stagkit[{extra}]" in line for line in sentences)
    if extra == "notebooks":
        named = {line.split()[0] for line in sentences}
        assert {"view_au_graph", "view_evidence", "view_flow", "view_run", "view_puppet"} <= named
        drawn = {"plot_au_graph", "plot_puppet"}  # those of the other explorers are drawn by the room plots
        assert not drawn & named, "figures need no notebook library"


def test_training_needs_no_notebook_library(tmp_path):
    """A machine with a GPU may have torch alone: folds are stacked, trained and scored without captum, plotly, ..."""
    code = (
        "import sys\n"
        "for name in ('captum', 'plotly', 'ipywidgets', 'anywidget', 'IPython', 'torch_geometric', 'mediapipe'):\n"
        "    sys.modules[name] = None\n"
        "import stagkit.datasets.prepare, stagkit.cli\n"
        "from stagkit.core.config import StagConfig, TrainConfig\n"
        "from stagkit.evaluation.evaluate import evaluate\n"
        "from tests.small import make_dataset\n"
        f"run = evaluate(make_dataset(2, 2, 1), {str(tmp_path / 'run')!r}, StagConfig(width=8), TrainConfig(epochs=1),\n"
        "               backend='stacked', device='cpu')\n"
        "print(run.metrics['n_folds'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"


def test_public_names_are_there():
    import stagkit

    for name in stagkit.__all__:
        assert getattr(stagkit, name) is not None
    with pytest.raises(AttributeError, match="public names"):
        stagkit.nonsense  # noqa: B018


def test_environment_is_made_from_the_lock():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert text == make_environment(read_lock()), "run 'make lock'"
    pip = yaml.safe_load(text)["dependencies"][-1]["pip"]
    assert pip[:-1] == read_lock()


def test_lock_holds_what_pyproject_asks_for():
    from packaging.requirements import Requirement

    locked = {}
    for line in read_lock():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            locked[requirement.name.lower().replace("_", "-")] = str(requirement.specifier).removeprefix("==")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(locked[requirement.name.lower()]), requirement
    assert locked["torch"] == "2.13.0"
    assert not [name for name in locked if name.startswith(("nvidia", "cuda", "triton"))]
    assert "torchvision" not in locked
    assert len([name for name in locked if name.startswith("opencv")]) == 1, "all OpenCV builds write the same cv2/"


def test_versions_agree():
    import stagkit

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert stagkit.__version__ == project["version"] == citation["version"]
    assert f"## [{stagkit.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_nothing_of_a_machine_in_the_project():
    """No absolute path of anybody's machine in what is published."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    pattern = re.compile(r"/(?:home|root|work|Users)/[A-Za-z]")
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".ipynb", ".toml", ".yml", ".json", ".js", ".css"} and path.is_file():
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert not found, f"{name}: {found.group()}"
