"""The browser's half of every explorer: one module that asks its host for no more than the AFM, one pair of signs."""

import inspect
import re
import subprocess
import sys

import pytest

from stagkit.plots.style import AGAINST, FOR, SIGNED_SCALE
from tests.lockfile import ROOT

pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")

#: What an anywidget front-end module may ask of its model, whatever the host: anywidget.dev/en/afm.
AFM = {"get", "set", "save_changes", "on", "off", "send"}

NAMES = ("AUGraph", "FlowExplorer", "EvidenceExplorer", "RunBrowser", "Puppet")


@pytest.fixture(params=NAMES)
def module(request):
    from stagkit import explorers as widgets

    text = str(getattr(widgets, request.param)._esm)
    text = re.sub(r"(?m)(^|\s)//.*$", "", text)  # comments may speak of anything
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def test_a_module_is_one_export_with_a_render_and_no_import(module):
    (exported,) = re.findall(r"(?m)^export\b.*$", module)
    keys = re.fullmatch(r"export default \{([\w\s,]*)\};?", exported)[1].replace(" ", "").strip(",").split(",")
    assert "render" in keys and set(keys) <= {"render", "initialize"}
    assert not re.findall(
        r"(?m)^\s*import\b|\bimport\s*\(|\brequire\(|importScripts|\bfetch\(|XMLHttpRequest|WebSocket|new Worker",
        module,
    )
    assert set(re.findall(r"https?://[^\s\"'`<>]*", module)) <= {
        "http://www.w3.org/2000/svg",
        "http://graphml.graphdrawing.org/xmlns",
    }, "names of XML, never asked for"


def test_a_module_asks_its_model_for_nothing_but_the_afm(module):
    asked = set(re.findall(r"\bmodel\??\.(\w+)", module))
    assert {"get", "set", "save_changes", "on"} <= asked <= AFM
    assert not re.findall(r"\bmodel\s*\[", module)


def test_a_module_stays_inside_its_element(module):
    assert not re.findall(r"jupyter\w*|acquireVsCodeApi|localStorage|sessionStorage|postMessage|\beval\(", module)
    of_document = set(re.findall(r"\bdocument\.(\w+)", module))
    assert of_document <= {"createElement", "createElementNS", "activeElement"}, (
        "nothing outside is looked up or changed"
    )
    assert set(re.findall(r"\bwindow\.(\w+)", module)) <= {"matchMedia"}


def test_what_speaks_for_a_class_has_one_colour_in_figures_and_in_the_browser():
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    from stagkit.explorers import read_css

    light = read_css("base").split("}", 1)[0]
    given = dict(re.findall(r"(--sg-[\w-]+): ([^;]+);", light))

    def resolve(name):
        value = given[name]
        return resolve(value[4:-1]) if value.startswith("var(") else value

    assert resolve("--sg-for") == FOR.lower() and resolve("--sg-against") == AGAINST.lower()
    scale = colormaps[SIGNED_SCALE]

    def warmth(colour):
        return to_rgb(colour)[0] - to_rgb(colour)[2]

    assert warmth(FOR) > 0 > warmth(AGAINST)
    assert warmth(scale(0.9)[:3]) > 0 > warmth(scale(0.1)[:3]), "the scale leans the same way"
    styles = "".join(read_css(path.stem) for path in (ROOT / "stagkit" / "explorers").rglob("*.css"))
    told = set(re.findall(r"\.sg-for[^{]*\{[^}]*?(var\(--sg-\w+\))", styles))
    assert told == {"var(--sg-for)"}
    assert set(re.findall(r"\.sg-against[^{]*\{[^}]*?(var\(--sg-\w+\))", styles)) == {"var(--sg-against)"}
    assert set(re.findall(r"(--sg-(?:for|against|orange|blue)):", styles.replace(read_css("base"), ""))) == set()


@pytest.mark.parametrize("name", ["au_graph", "puppet", "flow", "evidence", "run"])
def test_view_and_plot_take_the_same_arguments(name):
    from stagkit import explorers

    view, plot = (getattr(explorers, f"{verb}_{name}") for verb in ("view", "plot"))
    assert inspect.signature(view).parameters == inspect.signature(plot).parameters


def test_figures_need_no_widget_library():
    code = (
        "import sys\nfor name in ('anywidget', 'ipywidgets', 'traitlets', 'IPython'): sys.modules[name] = None\n"
        "from stagkit.explorers import plot_au_graph, plot_puppet\n"
        "print(len(plot_puppet(0, '12').axes))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3"
