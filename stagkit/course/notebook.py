"""Helper of the course's notebooks: set-up, questions, checked answers, expected values, one small trained run.

```
from stagkit.course.notebook import setup; nb = setup("01")
```

Environment:
    RUN: folder of a finished run of yours; the notebooks then explain it instead of the small phantom run.
    DATA: prepared folder of yours; the notebooks then train on it instead of on phantoms.
    STAGKIT_CACHE: where the small phantom run is kept between notebooks (default ``~/.cache/stagkit``).
    STAGKIT_RECORD_VALUES: 1 = ``check_values()`` writes its file instead of comparing with it.
    STAGKIT_COURSE: 1 = the runner of the course is executing: expected values have to exist.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.core.errors import StagkitError
from stagkit.core.files import read_json, write_json

if TYPE_CHECKING:
    from stagkit.core.config import StagConfig, TrainConfig
    from stagkit.core.types import Clip, RoiDataset
    from stagkit.course.exercises import Verdict
    from stagkit.evaluation.run import Run
    from stagkit.synthetic.config import PhantomConfig

#: What differs on a screen from the style of all figures: larger, and PNGs of moderate size.
_SCREEN = {
    "figure.dpi": 100,
    "figure.figsize": (7.16, 3.0),
    "savefig.dpi": 110,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "text.parse_math": True,  # ticks of logarithmic axes are formulas; functions of ``plots`` draw in their own style
}

#: Rooms whose code decides the numbers of the small run: ``evaluation`` and all that it may import.
_RUN_ROOMS = ("core", "network", "motion", "datasets", "synthetic", "training", "evaluation")


class UnexpectedValue(StagkitError):
    """A number of a notebook is not what was recorded."""


def setup(number: str, seed: int = 0) -> Notebook:
    """Begin a notebook: seeds of numpy, random and torch, one torch thread on a CPU, figure style, a banner of two lines.

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
    _set_style()
    notebook._banner()
    return notebook


def _set_style() -> None:
    """The style of all figures, at screen size; each figure is shown once, as an inline PNG."""
    import matplotlib

    from stagkit.plots.style import COLOURS, STYLE

    style = {**STYLE, **_SCREEN, "axes.prop_cycle": matplotlib.cycler(color=COLOURS)}
    matplotlib.rcParams.update(style)
    shell = _shell()
    if shell is None:
        return
    from IPython.core.pylabtools import print_figure
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    def draw(figure: Figure) -> str | None:
        png = print_figure(figure, fmt="png", base64=True, dpi=_SCREEN["savefig.dpi"])
        pyplot.close(figure)  # what a cell returns is shown here; pyplot would show it once more
        return png

    if "inline" in matplotlib.get_backend(auto_select=False) or getattr(shell, "kernel", None) is not None:
        shell.run_line_magic("matplotlib", "inline")
        matplotlib.rcParams.update(style)
        shell.display_formatter.formatters["image/png"].for_type(Figure, draw)


class Notebook:
    """The helper of one notebook, e.g. ``"01"``; made by ``setup``."""

    def __init__(self, number: str):
        if not (len(number) == 2 and number.isdigit()):
            raise StagkitError(f"setup({number!r}): expected the two digits of the notebook's name, e.g. setup('01').")
        self.number = number

    # what it runs on -------------------------------------------------------------------------------------------------
    @cached_property
    def device(self) -> str:
        """``cuda`` if there is a GPU, otherwise ``cpu``."""
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
        import torch

        import stagkit

        device = torch.cuda.get_device_name(0) if self.device == "cuda" else f"cpu, {os.cpu_count()} cores"
        data = "phantoms (synthetic faces, no licence needed); set RUN=... or DATA=... to use your own"
        if self.own_data:
            what = {"RUN": "run", "DATA": "prepared data"}[self.own_data]
            path = os.environ[self.own_data]
            data = f"your {what}, {self.own_data}={path} (its values are not compared with the phantoms')"
        text = f"stagkit {stagkit.__version__} · notebook {self.number} · {device}\ndata: {data}"
        _show(text, metadata={"data": self.own_data or "phantoms"})

    def _own_path(self) -> Path:
        path = Path(os.environ[self.own_data]).expanduser()
        if not path.is_dir():
            message = "there is no such folder. Correct it, or unset it to use phantoms."
            raise StagkitError(f"{self.own_data} is {path}: {message}")
        return path

    def phantom_run(self, progress: bool = True) -> Run:
        """A small trained run to look into: phantoms, leave one subject out, made once and kept for all notebooks.

        If ``RUN`` is set, that run is opened instead; if ``DATA`` is set, a run is trained on that folder.

        Args:
            progress: print that it is being made.

        Raises:
            StagkitError: ``RUN`` or ``DATA`` does not exist, or the cache cannot be written.
        """
        from stagkit.datasets.prepare import load_data, prepare_dataset
        from stagkit.evaluation.evaluate import evaluate
        from stagkit.evaluation.run import Run

        if self.own_data == "RUN":
            return Run.load(self._own_path())
        phantoms, stag, train = course_settings()
        data = None
        if self.own_data:
            data = load_data(self._own_path())
            stag, train = choose_course_settings(data)
        clips = data.meta["digest"] if data else phantoms.digest()
        digest = _digest(clips, stag.digest(), train.digest(), compute_code_digest())
        home = cache_folder() / f"course-{digest}"
        prepared = self._own_path() if data else home / "prepared"
        if (home / "run" / "metrics.json").is_file():
            return Run.load(home / "run")
        if progress:
            print(f"making the course's small run in {os.cpu_count()} processes (once; other notebooks reuse it)")
        if data is None:
            from stagkit.synthetic.dataset import PhantomSource

            data = prepare_dataset(PhantomSource(phantoms), prepared, workers=os.cpu_count() or 1)
        return evaluate(data, home / "run", stag, train, device=self.device, data_path=prepared)

    def prepared(self, config: PhantomConfig) -> Path:
        """Folder of prepared clips: the phantoms of ``config``, or the reader's own if ``DATA`` or ``RUN`` is set."""
        if self.own_data == "DATA":
            return self._own_path()
        if self.own_data == "RUN":
            from stagkit.evaluation.run import Run

            return Path(Run.load(self._own_path()).request["data_path"])
        from stagkit.datasets.prepare import prepare_dataset
        from stagkit.synthetic.dataset import PhantomSource

        prepare_dataset(PhantomSource(config), self.folder / "prepared", workers=os.cpu_count() or 1)
        return self.folder / "prepared"

    def phantom_clip(self, clip_id: str) -> Clip | None:
        """The frames and the ground truth of a clip of the phantom run; None if the run is the reader's own.

        Raises:
            StagkitError: ``clip_id`` is not in ``run.load_data().clip_ids``.
        """
        if self.own_data:
            self.say("These are your clips: they have no ground truth, so this part is left out.")
            return None
        from stagkit.synthetic.clip import make_clip

        config = course_settings()[0]
        number = re.fullmatch(r"(?:.*/)?sub(\d+)_(\d+)", clip_id)
        clip = make_clip(config, int(number[1]) - 1, int(number[2]) - 1) if number else None
        if clip is None or clip.clip_id != clip_id:
            raise StagkitError(f"there is no phantom clip {clip_id!r}; the run lists them: run.load_data().clip_ids.")
        return clip

    # what it shows ---------------------------------------------------------------------------------------------------
    def say(self, text: str) -> None:
        """Show a sentence with numbers that were just computed (markdown), so that none is ever typed."""
        _show(text, markdown=text)

    def predict(self, question: str, options: Sequence[str] = ()) -> None:
        """Ask before showing: one sentence (markdown) and possible answers; nothing waits for an answer."""
        text = "\n".join([f"**Predict.** {question}", *([""] if options else []), *(f"- {o}" for o in options)])
        _show(text, markdown=text)

    # what is checked -------------------------------------------------------------------------------------------------
    def check(self, exercise: str, answer: object, **given: object) -> Verdict:
        """Check an answer; the usual wrong answers are recognised. A placeholder (``...``) is 'not answered yet'.

        Args:
            exercise: e.g. ``"01.2"``; ``StagkitError`` if there is none of this number.
            answer: what the exercise asks for.
            **given: values of the notebook that the check compares with, as written in the placeholder.
        """
        from stagkit.course.exercises import check_answer

        return check_answer(exercise, answer, **given)

    def check_values(self, **values: float | int | str | bool) -> None:
        """Compare numbers, texts and truth values with the recorded ones (``notebooks/expected_values/NN.json``).

        Outside of the repository there is no such file: the values are shown and nothing is compared.

        Raises:
            UnexpectedValue: a number outside its tolerance, new or missing, or no file in the folder of expected values.
        """
        path, known, note = _values_path(self.number), None, ""
        if not self.own_data:
            values = {name: _plain(name, value) for name, value in values.items()}
            if os.environ.get("STAGKIT_RECORD_VALUES") == "1":
                known = _record_expected(path, self.number, values)
            elif path.parent.is_dir() or os.environ.get("STAGKIT_COURSE") == "1":
                known = _load_expected(path, self.number)
            else:
                note = "\n\nThe expected values are in stagkit's repository, so nothing is compared here."
        off = {} if known is None else compare_values(values, known)
        text = _table(values, known or {}, off) + note
        _show(text, markdown=text, metadata={"values": len(values), "off": sorted(off)})
        if off:
            raise UnexpectedValue(
                f"notebook {self.number}: {'; '.join(off.values())}. If you changed a cell, that is why: go on. If you "
                "changed the library on purpose, record them again: STAGKIT_RECORD_VALUES=1 python -m stagkit.course "
                f"notebooks --record --only {self.number}, and list them under 'Numbers changed' in CHANGELOG.md."
            )


# the small run -------------------------------------------------------------------------------------------------------


#: The default network with fewer layers, and fewer epochs.
_COURSE_STAG = {"graph_layers": 1, "time_layers": 1}
_COURSE_TRAIN = {"epochs": 40, "batch_size": 16, "region_dropout": 0.05}


def course_settings() -> tuple[PhantomConfig, StagConfig, TrainConfig]:
    """Settings of the course's small phantom run: seconds on a laptop, well above chance."""
    from stagkit.core.config import StagConfig, TrainConfig
    from stagkit.synthetic.config import PhantomConfig

    phantoms = PhantomConfig(preset="casme2", subjects=6, clips=6, size=96, difficulty=0.8)
    return phantoms, StagConfig(**_COURSE_STAG), TrainConfig(**_COURSE_TRAIN)


def choose_course_settings(data: RoiDataset) -> tuple[StagConfig, TrainConfig]:
    """Settings of the course's run on a reader's own clips: the defaults of ``evaluate`` with the course's changes."""
    from stagkit.evaluation.defaults import choose_settings

    chosen = choose_settings(data)
    return chosen.stag.replace(**_COURSE_STAG), chosen.train.replace(**_COURSE_TRAIN)


def cache_folder() -> Path:
    """Where runs are kept between notebooks: ``STAGKIT_CACHE``, otherwise ``~/.cache/stagkit``."""
    if os.environ.get("STAGKIT_CACHE"):
        return Path(os.environ["STAGKIT_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "stagkit"


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def compute_code_digest(home: Path = Path(__file__).parents[1]) -> str:
    """Digest of the code and the tables of the package that decide the small run's numbers."""
    files = [path for room in _RUN_ROOMS for path in (home / room).rglob("*.py")]
    files += (home / "resources").glob("*.csv")
    return _digest(*(f"{f.relative_to(home)} {hashlib.sha256(f.read_bytes()).hexdigest()}" for f in sorted(files)))


# expected values -----------------------------------------------------------------------------------------------------


def _values_path(number: str) -> Path:
    """``expected_values/NN.json`` next to the notebook (or to the folder of solutions)."""
    here = Path.cwd()
    folders = (here, here.parent, here / "notebooks", Path(__file__).parents[2] / "notebooks")
    folder = next((f for f in folders if (f / "expected_values").is_dir()), here)
    return folder / "expected_values" / f"{number}.json"


def _plain(name: str, value: object) -> float | int | str | bool:
    """A number, text or truth value that JSON can hold."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.6g}")
    raise UnexpectedValue(f"value {name!r} is {value!r}, expected a finite number, a text or a truth value.")


def _load_expected(path: Path, number: str) -> dict[str, dict]:
    if not path.is_file():
        raise UnexpectedValue(
            f"notebook {number} has no expected values ({path.name} is missing): record them once with "
            f"STAGKIT_RECORD_VALUES=1 python -m stagkit.course notebooks --record --only {number}."
        )
    return read_json(path).get("values", {})


def _record_expected(path: Path, number: str, values: Mapping[str, object]) -> dict[str, dict]:
    """Write the values; known tolerances stay, new ones are 5 % (whole numbers and texts: exact)."""
    known = _load_expected(path, number) if path.is_file() else {}
    expected = {}
    for name, value in values.items():
        tolerance = known.get(name, {}).get("tolerance")
        if tolerance is None:
            tolerance = float(f"{0.05 * abs(value):.2g}") if isinstance(value, float) else 0
        expected[name] = {"value": value, "tolerance": tolerance}
    write_json(path, {"notebook": number, "values": expected})
    return expected


def compare_values(values: Mapping[str, object], known: Mapping[str, Mapping]) -> dict[str, str]:
    """Name of each value that is off -> what is wrong; ``known`` is as recorded, with absolute tolerances.

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
            off[name] = f"{name} is {_short(value)}, recorded {_recorded(known[name])}"
    return off | {name: f"{name} was recorded but is no longer given" for name in known if name not in values}


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _recorded(entry: Mapping) -> str:
    margin = f" ± {_short(entry['tolerance'])}" if entry.get("tolerance") else ""
    return f"{_short(entry['value'])}{margin}"


def _table(values: Mapping[str, object], known: Mapping[str, Mapping], off: Mapping[str, str]) -> str:
    rows = ["| value | here | recorded | |", "|---|---|---|---|"]
    for name, value in values.items():
        recorded = _recorded(known[name]) if name in known else "–"
        mark = "**off**" if name in off else "✓" if known else ""
        rows.append(f"| {name.replace('_', ' ')} | {_short(value)} | {recorded} | {mark} |")
    return "\n".join(rows)


# where it is shown ---------------------------------------------------------------------------------------------------


def _shell():
    """The running IPython, or None in plain Python."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def _show(text: str, markdown: str = "", metadata: Mapping[str, object] | None = None) -> None:
    """Display a text; ``metadata`` lets the runner count values and verdicts."""
    if _shell() is None:
        print(text)
        return
    from IPython.display import display

    data = {"text/plain": text, **({"text/markdown": markdown} if markdown else {})}
    display(data, raw=True, metadata={"stagkit": dict(metadata)} if metadata else {})
