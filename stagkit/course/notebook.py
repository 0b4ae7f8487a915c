"""What a notebook of the course needs: one set-up line, questions, checked answers, facts, one small trained run.

```
from stagkit.course.notebook import setup; nb = setup("01")
```

Environment:
    RUN: folder of a finished run of yours; the notebooks then explain it instead of the small phantom run.
    DATA: prepared folder of yours; the notebooks then train on it instead of on phantoms.
    STAGKIT_CACHE: where the small phantom run is kept between notebooks (default ``~/.cache/stagkit``).
    STAGKIT_RECORD_VALUES: 1 = ``check_values()`` writes its file instead of comparing with it.
    STAGKIT_COURSE: 1 = the runner of the course is executing (no interactive controls).
"""

from __future__ import annotations

import ast
import hashlib
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.core.errors import StagkitError

if TYPE_CHECKING:
    import numpy as np

    from stagkit.core.config import PhantomConfig, StagConfig, TrainConfig
    from stagkit.core.types import Batch, Clip, RoiDataset
    from stagkit.course.exercises import Verdict
    from stagkit.evaluation.run import Run
    from stagkit.network.model import Stag

#: Where outputs say what they mean, so that the runner can count facts and verdicts.
METADATA = "stagkit"

#: Colours that stay apart for colour-blind readers (Okabe and Ito 2008), in the order in which lines use them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")

_STYLE = {
    "figure.dpi": 100,
    "figure.figsize": (7.16, 3.0),
    "figure.facecolor": "white",
    "savefig.dpi": 110,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "image.cmap": "viridis",
}

#: Where the small run begins: all that these modules import decides its numbers (``find_sources``).
_ENTRIES = ("stagkit.evaluation.evaluate", "stagkit.datasets.prepare", "stagkit.synthetic.dataset")


class UnexpectedValue(StagkitError):
    """Numbers of a notebook that are not what they were."""


def setup(number: str, seed: int = 0) -> Notebook:
    """Begin a notebook: seeds, one torch thread on a CPU, figure style, and a banner of one or two lines.

    Args:
        number: the notebook's number, e.g. ``"01"``.
        seed: of numpy, random and torch.

    Returns:
        What the rest of the notebook calls ``nb``.

    Example:
        >>> nb = setup("01")  # doctest: +SKIP
        stagkit 0.1.0 · notebook 01 · cpu, 2 cores
        data: phantoms (synthetic faces, no licence needed); set RUN=... or DATA=... to use your own
    """
    import random
    import warnings

    import numpy as np
    import torch

    # joblib replaces a worker that has grown; the work is done again, so nobody needs to act on it
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (readers' own cells use the global generator)
    torch.manual_seed(seed)
    notebook = Notebook(number)
    if notebook.device == "cpu":
        torch.set_num_threads(1)  # a second thread slows networks of this size, on a busy machine twentyfold
    set_style()
    notebook._banner()
    return notebook


def set_style() -> None:
    """Set the look of the course's figures: 8-9 pt, colour-blind safe, inline PNG; each figure is shown once."""
    import matplotlib

    matplotlib.rcParams.update({**_STYLE, "axes.prop_cycle": matplotlib.cycler(color=COLOURS)})
    shell = _shell()
    if shell is None:
        return
    from IPython.core.pylabtools import print_figure
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    def draw(figure: Figure) -> str | None:
        png = print_figure(figure, fmt="png", base64=True, dpi=_STYLE["savefig.dpi"])
        pyplot.close(figure)  # what a cell returns is shown here; pyplot would show it once more
        return png

    if "inline" in matplotlib.get_backend(auto_select=False) or getattr(shell, "kernel", None) is not None:
        shell.run_line_magic("matplotlib", "inline")
        matplotlib.rcParams.update(_STYLE)
        shell.display_formatter.formatters["image/png"].for_type(Figure, draw)


class Notebook:
    """The helper of one notebook; made by ``setup``.

    Args:
        number: e.g. ``"01"``.
    """

    def __init__(self, number: str):
        if not (len(number) == 2 and number.isdigit()):
            raise StagkitError(f"setup({number!r}): expected the two digits of the notebook's name, e.g. setup('01').")
        self.number = number
        #: question -> what the reader chose, where the controls are live
        self.predictions: dict[str, str] = {}
        self.verdicts: dict[str, Verdict] = {}

    # what it runs on -------------------------------------------------------------------------------------------------
    @cached_property
    def device(self) -> str:
        """``cuda`` where there is a GPU, else ``cpu``."""
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def folder(self) -> Path:
        """An empty folder that is removed when the kernel ends."""
        self._temporary = tempfile.TemporaryDirectory(prefix=f"stagkit-{self.number}-")
        return Path(self._temporary.name)

    @property
    def own_data(self) -> str:
        """What the reader has set: ``"RUN"``, ``"DATA"``, or ``""`` for phantoms."""
        return next((name for name in ("RUN", "DATA") if os.environ.get(name)), "")

    def _banner(self) -> None:
        import stagkit

        if self.device == "cpu":
            device = f"cpu, {os.cpu_count()} cores"
        else:
            import torch

            device = torch.cuda.get_device_name(0) if self.device == "cuda" else self.device
        if self.own_data:
            what = {"RUN": "your run", "DATA": "your prepared data"}[self.own_data]
            data = f"{what}, {self.own_data}={os.environ[self.own_data]} (facts of the phantoms are not compared)"
        else:
            data = "phantoms (synthetic faces, no licence needed); set RUN=... or DATA=... to use your own"
        text = f"stagkit {stagkit.__version__} · notebook {self.number} · {device}\ndata: {data}"
        _show(text, metadata={"data": self.own_data or "phantoms"})

    def _set_path(self) -> Path:
        path = Path(os.environ[self.own_data]).expanduser()
        if not path.is_dir():
            raise StagkitError(
                f"{self.own_data} is {path}: there is no such folder. Correct it, or unset it to use phantoms."
            )
        return path

    def phantom_run(self, progress: bool = True) -> Run:
        """A small trained run to look into: phantoms, leave one subject out, made once and kept for all notebooks.

        Where ``RUN`` is set, that run is opened instead; where ``DATA`` is set, it is trained on that folder.

        Args:
            progress: tell on the screen while it is being made.

        Returns:
            A finished ``Run``; its clips are ``run.load_data()``.

        Raises:
            StagkitError: ``RUN`` or ``DATA`` is not there, or the cache cannot be written.
        """
        from stagkit.datasets.prepare import load_data, prepare_dataset
        from stagkit.evaluation.evaluate import evaluate
        from stagkit.evaluation.run import Run

        if self.own_data == "RUN":
            return Run.load(self._set_path())
        phantoms, stag, train = course_settings()
        prepared = self._set_path() if self.own_data else None
        if prepared:
            stag, train = choose_course_settings(load_data(prepared))
        parts = [load_data(prepared).meta["digest"]] if prepared else [phantoms.digest()]
        digest = _digest(*parts, stag.digest(), train.digest(), _code_digest())
        home = cache_folder() / f"course-{digest}"
        if (home / "run" / "metrics.json").is_file():
            return Run.load(home / "run")
        if progress:
            print(f"making the course's small run in {os.cpu_count()} processes (once; other notebooks find it ready)")
        if prepared:
            data = load_data(prepared)
        else:
            from stagkit.synthetic.dataset import PhantomSource

            prepared = home / "prepared"
            data = prepare_dataset(PhantomSource(phantoms), prepared, workers=os.cpu_count() or 1)
        return evaluate(data, home / "run", stag, train, device=self.device, data_path=prepared)

    def prepared(self, config: PhantomConfig) -> Path:
        """Folder of prepared clips: the phantoms of ``config``, or the reader's own where ``DATA`` or ``RUN`` is set.

        Args:
            config: which phantoms; measured with the standard flow in one process a core.
        """
        if self.own_data == "DATA":
            return self._set_path()
        if self.own_data == "RUN":
            from stagkit.evaluation.run import Run

            return Path(Run.load(self._set_path()).request["data_path"])
        from stagkit.datasets.prepare import prepare_dataset
        from stagkit.synthetic.dataset import PhantomSource

        prepare_dataset(PhantomSource(config), self.folder / "prepared", workers=os.cpu_count() or 1)
        return self.folder / "prepared"

    def phantom_clip(self, clip_id: str) -> Clip | None:
        """The frames and the planted truth of a clip of the phantom run; None where the run is the reader's own.

        Args:
            clip_id: as in ``run.load_data().clip_ids``.

        Raises:
            StagkitError: no such clip.
        """
        if self.own_data:
            self.say("These are your clips: they have no planted truth, so this part is left out.")
            return None
        from stagkit.synthetic.clip import make_clip

        config = course_settings()[0]
        number = re.fullmatch(r"(?:.*/)?sub(\d+)_(\d+)", clip_id)
        clip = make_clip(config, int(number[1]) - 1, int(number[2]) - 1) if number else None
        if clip is None or clip.clip_id != clip_id:
            raise StagkitError(f"there is no phantom clip {clip_id!r}; the run lists them: run.load_data().clip_ids.")
        return clip

    def cutter(self, model: Stag, batch: Batch) -> Callable[[list[list[str]], int], np.ndarray]:
        """What the AU-graph explorer calls when an edge is cut: ``recompute=nb.cutter(model, batch)``.

        Args:
            model: in evaluation mode.
            batch: the clips the explorer shows.

        Returns:
            A function (cuts, clip index) -> class probabilities "cls"; what a cut may be stands in ``what_if``.
        """
        return partial(_answer_with_cuts, model, batch)

    # what it says ----------------------------------------------------------------------------------------------------
    def say(self, text: str) -> None:
        """Show a sentence with numbers that were just computed (markdown), so that none is ever typed."""
        _show(text, markdown=text)

    def predict(self, question: str, options: Sequence[str] = ()) -> None:
        """Ask before showing. Where the notebook is live the options can be ticked; nothing waits for an answer.

        Args:
            question: one sentence (markdown).
            options: possible answers; none for an open question.
        """
        lines = [f"**Predict.** {question}", *(f"- {option}" for option in options)]
        text = "\n".join([lines[0], "", *lines[1:]]) if options else lines[0]
        if not (options and _is_live() and self._ask(question, list(options))):
            _show(text, markdown=text)

    def _ask(self, question: str, options: list[str]) -> bool:
        """Radio buttons where ipywidgets is there."""
        try:
            import ipywidgets
            from IPython.display import Markdown, display
        except ImportError:
            return False
        display(Markdown(f"**Predict.** {question}"))
        choice = ipywidgets.RadioButtons(options=options, value=None, layout={"width": "max-content"})
        noted = ipywidgets.Label("")

        def note(change) -> None:
            self.predictions[question] = change["new"]
            noted.value = "Noted. Run on and compare."

        choice.observe(note, "value")
        display(ipywidgets.VBox([choice, noted]))
        return True

    # what is checked -------------------------------------------------------------------------------------------------
    def check(self, exercise: str, answer: object, **given: object) -> Verdict:
        """Check an answer; a usual wrong one is told what it is. A stub (``...``) is 'not answered yet'.

        Args:
            exercise: e.g. ``"01.2"``.
            answer: what the exercise asks for.
            **given: values of the notebook that the check compares with, as written in the stub.

        Returns:
            ``Verdict`` with ``ok`` (True, False, or None where not answered) and ``text``.

        Raises:
            StagkitError: there is no such exercise.
        """
        from stagkit.course.exercises import check_answer

        verdict = check_answer(exercise, answer, **given)
        self.verdicts[exercise] = verdict
        return verdict

    def check_values(self, **values: float | int | str | bool) -> None:
        """Compare the notebook's numbers with those it was recorded with (``notebooks/expected_values/NN.json``).

        A notebook that was taken out of the repository has no such file: its numbers are shown and nothing is compared.

        Args:
            **values: name -> number, text or truth value. Tolerances stand in the file and are absolute.

        Raises:
            UnexpectedValue: a number outside its tolerance, one that is new or missing, or no file in the folder of facts.
        """
        if self.own_data:
            _show(_table(values, {}, {}), markdown=_table(values, {}, {}), metadata={"values": len(values), "off": []})
            return
        path = _values_path(self.number)
        plain = {name: _plain(name, value) for name, value in values.items()}
        if os.environ.get("STAGKIT_RECORD_VALUES") == "1":
            _record_expected(path, self.number, plain)
        elif not path.parent.is_dir() and os.environ.get("STAGKIT_COURSE") != "1":
            table = _table(plain, {}, {})
            note = "The expected values lie in the repository of stagkit (notebooks/expected_values): nothing is compared here."
            _show(f"{table}\n\n{note}", markdown=f"{table}\n\n{note}", metadata={"values": len(plain), "off": []})
            return
        known = _load_expected(path, self.number)
        off = compare_values(plain, known)
        table = _table(plain, known, off)
        metadata = {"values": len(plain), "off": sorted(off)}
        _show(table, markdown=table, metadata=metadata)
        if off:
            raise UnexpectedValue(
                f"notebook {self.number}: {'; '.join(off.values())}. If you changed a cell, that is why: go on. If you "
                "changed the library on purpose, record them anew: STAGKIT_RECORD_VALUES=1 python -m stagkit.course "
                f"notebooks --record --only {self.number}, and say so under 'Numbers changed' in CHANGELOG.md."
            )


# the small run -------------------------------------------------------------------------------------------------------


#: What the course sets itself: a small network, few epochs, and all parts of the network in use. On clips whose action
#: units are coded ``evaluate`` takes ``answer="aus"``; the course explains the fused answer first, so it names it.
_COURSE_STAG = {"width": 32, "graph_layers": 1, "time_layers": 1, "answer": "fused"}
_COURSE_TRAIN = {"epochs": 20, "batch_size": 16, "lr": 3e-3, "roi_dropout": 0.05}


def course_settings() -> tuple[PhantomConfig, StagConfig, TrainConfig]:
    """Settings of the small phantom run that the course looks into: seconds on a laptop, still well above chance."""
    from stagkit.core.config import PhantomConfig, StagConfig, TrainConfig

    return (
        PhantomConfig(preset="casme2", subjects=6, clips=6, size=96, difficulty=0.8),
        StagConfig(**_COURSE_STAG),
        TrainConfig(**_COURSE_TRAIN),
    )


def choose_course_settings(data: RoiDataset) -> tuple[StagConfig, TrainConfig]:
    """Settings of the course's run on a reader's own clips: those of any evaluation, with what the course sets itself."""
    from stagkit.evaluation.defaults import choose_settings

    chosen = choose_settings(data)
    return chosen.stag.replace(**_COURSE_STAG), chosen.train.replace(**_COURSE_TRAIN)


def _answer_with_cuts(model: Stag, batch: Batch, cuts: list[list], clip: int) -> np.ndarray:
    import torch

    from stagkit.explain.interventions import compute_probabilities
    from stagkit.training.train import take

    return compute_probabilities(model, take(batch, torch.tensor([clip])), cuts)


def cache_folder() -> Path:
    """Where runs are kept between notebooks: ``STAGKIT_CACHE``, else ``~/.cache/stagkit``."""
    if os.environ.get("STAGKIT_CACHE"):
        return Path(os.environ["STAGKIT_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "stagkit"


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def find_sources(entries: Sequence[str] = _ENTRIES, home: Path | None = None) -> list[Path]:
    """Files of all modules of stagkit that some modules import, directly or through others, also inside functions.

    Imports for type checkers alone are left out. The tables in ``stagkit/resources`` are added: modules read them.

    Args:
        entries: full names of modules, e.g. ``"stagkit.evaluation.evaluate"``.
        home: folder of the package ``stagkit``; this one where None.

    Returns:
        Sorted paths.
    """
    home = home or Path(__file__).parents[1]
    found: set[Path] = set()
    todo = list(entries)
    while todo:
        path = home.joinpath(*todo.pop().split(".")[1:])
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path == home / "__init__.py" or path in found or not path.is_file():
            continue  # the package itself holds names only; a name that is no module is something in one
        found.add(path)
        todo += _find_imports(ast.parse(path.read_text(encoding="utf-8")))
    return sorted(found) + sorted((home / "resources").glob("*.csv"))


def _find_imports(tree: ast.AST) -> list[str]:
    """Full names of what is imported from stagkit: modules, and names that may be modules."""
    names = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            names += [name for other in node.orelse for name in _find_imports(other)]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stagkit":
            parts = node.module.split(".")
            names += [".".join(parts[:n]) for n in range(2, len(parts) + 1)]
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.split(".")[0] == "stagkit"]
        else:
            names += _find_imports(node)
    return names


def _code_digest() -> str:
    """Digest of the code and the tables that decide the run's numbers: when one changes, the run is made again."""
    home = Path(__file__).parents[1]
    return _digest(*(f"{f.relative_to(home)} {hashlib.sha256(f.read_bytes()).hexdigest()}" for f in find_sources()))


# facts ---------------------------------------------------------------------------------------------------------------


def _values_path(number: str) -> Path:
    """``expected_values/NN.json`` beside the notebook (or beside the folder of solutions)."""
    here = Path.cwd()
    folders = (here, here.parent, here / "notebooks", Path(__file__).parents[2] / "notebooks")
    return next((f for f in folders if (f / "expected_values").is_dir()), here) / "expected_values" / f"{number}.json"


def _plain(name: str, value: object) -> float | int | str | bool:
    """A number, text or truth value that JSON can hold."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.6g}")
    raise UnexpectedValue(f"fact {name!r} is {value!r}, expected a finite number, a text or a truth value.")


def _load_expected(path: Path, number: str) -> dict[str, dict]:
    from stagkit.core.files import read_json

    if not path.is_file():
        raise UnexpectedValue(
            f"notebook {number} has no recorded facts ({path.name} is missing): record them once with "
            f"STAGKIT_RECORD_VALUES=1 python -m stagkit.course notebooks --record --only {number}."
        )
    return read_json(path).get("values", {})


def _record_expected(path: Path, number: str, values: Mapping[str, object]) -> None:
    """Write the facts; tolerances that are there already stay, new ones are 5 % (whole numbers and texts: exact)."""
    from stagkit.core.files import write_json

    known = _load_expected(path, number) if path.is_file() else {}
    facts = {}
    for name, value in values.items():
        tolerance = known.get(name, {}).get("tolerance")
        if tolerance is None:
            tolerance = float(f"{0.05 * abs(value):.2g}") if isinstance(value, float) else 0
        facts[name] = {"value": value, "tolerance": tolerance}
    write_json(path, {"notebook": number, "values": facts})


def compare_values(values: Mapping[str, object], known: Mapping[str, Mapping]) -> dict[str, str]:
    """Which facts are off, with the reason.

    Args:
        values: name -> value now.
        known: name -> {"value", "tolerance"} as recorded; the tolerance is absolute.

    Returns:
        name -> what is wrong with it; empty where all is well.

    Example:
        >>> compare_values({"apex": 41}, {"apex": {"value": 40, "tolerance": 2}})
        {}
        >>> compare_values({"apex": 45}, {"apex": {"value": 40, "tolerance": 2}})
        {'apex': 'apex is 45, recorded 40 ± 2'}
    """
    off = {}
    for name, value in values.items():
        if name not in known:
            off[name] = f"{name} is new ({_short(value)})"
            continue
        wanted, tolerance = known[name]["value"], known[name].get("tolerance", 0)
        exact = isinstance(wanted, (str, bool)) or isinstance(value, (str, bool))
        if value != wanted if exact else abs(value - wanted) > tolerance:
            margin = f" ± {_short(tolerance)}" if tolerance and not exact else ""
            off[name] = f"{name} is {_short(value)}, recorded {_short(wanted)}{margin}"
    for name in known:
        if name not in values:
            off[name] = f"{name} was recorded but is no longer given"
    return off


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(values: Mapping[str, object], known: Mapping[str, Mapping], off: Mapping[str, str]) -> str:
    rows = ["| value | here | recorded | |", "|---|---|---|---|"]
    for name, value in values.items():
        fact = known.get(name)
        margin = f" ± {_short(fact['tolerance'])}" if fact and fact.get("tolerance") else ""
        recorded = f"{_short(fact['value'])}{margin}" if fact else "–"
        rows.append(
            f"| {name.replace('_', ' ')} | {_short(value)} | {recorded} | {'**off**' if name in off else '✓'} |"
        )
    if not known:
        rows = [row.replace("✓", "") for row in rows]
    return "\n".join(rows)


# where it is shown ---------------------------------------------------------------------------------------------------


def _shell():
    """The running IPython, or None in plain Python."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def _is_live() -> bool:
    """True in a notebook that a person is looking at."""
    shell = _shell()
    return getattr(shell, "kernel", None) is not None and os.environ.get("STAGKIT_COURSE") != "1"


def _show(text: str, markdown: str = "", metadata: Mapping[str, object] | None = None) -> None:
    if _shell() is None:
        print(text)
        return
    from IPython.display import display

    data = {"text/plain": text, **({"text/markdown": markdown} if markdown else {})}
    display(data, raw=True, metadata={METADATA: dict(metadata)} if metadata else {})
