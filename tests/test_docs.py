"""What is written is true: docstrings name the arguments there are, their examples run, the commands of pages exist."""

import doctest
import importlib
import inspect
import pkgutil
import re
import shlex

import pytest

import stagkit
from tests.lockfile import ROOT
from tests.test_spelling import find_misspelt

#: What a user reads: README, the benchmarks, the data sets, and the pages of docs/ and benchmarks/results/.
PAGES = ["README.md", "BENCHMARKS.md", "data_README.md"] + sorted(
    str(path.relative_to(ROOT)) for folder in ("docs", "benchmarks/results") for path in (ROOT / folder).glob("*.md")
)

#: Regular expressions of words that these pages do not use; the standard term is in the comment.
DIALECT = (
    r"\btold\b|\bsaid\b",  # summary, message, prediction
    r"\banswer(?:s|ed|ing)?\b",  # prediction, to predict
    r"\bbeside\b",  # next to, in addition
    r"\bcompanions?\b",  # auxiliary batch
    r"\b(?:go|goes|going|gone|went)\s+on\b",  # resume
    r"\banew\b",  # again
    r"\bat\s+work\b|\bat\s+hand\b|\bto\s+be\s+had\b",  # running, available
    r"\bby\s+hand\b",  # run manually; not scripted
    r"\bearn(?:s|ed)?\b|\bworth\s+(?:[+-]?\d|much|nothing|a\b)|\b(?:is|are|was)\s+worth\b",  # improves UF1 by, no effect
    r"\ba\s+hair\b|\btwice\s+as\b",  # slightly, 2 times
    r"\bjudg(?:e|es|ed|ing)\b|\bverdicts?\b",  # validation subjects, to predict, check result
    r"\bcheat\w*",  # confounder, shortcut
    r"\bhonest\w*",  # sound, blind
    r"\bpoints?\s+rightly\b|\bpoints?\s+where\b",  # pointing-game accuracy
    r"\bsystems\s+of\s+the\s+field\b|\bwould\s+(?:have\s+)?claim",  # published systems, optimism
    r"\bslopes?\b",  # gradients
    r"\bsilenc(?:e|es|ed|ing)\b|\bstilled\b|\bheld\s+at\b",  # set to zero, clamped to
    r"\bcut(?:s|ting)?\s+(?:an?|the|this|every|each)?\s*edges?\b|\bedges?\s+(?:is|are)\s+cut\b",  # remove, edge ablation
    r"\bpictures?\b",  # image, frame, figure
    r"\bsheets?\b",  # annotation file
    r"\bfilms?\b",  # clip, recording
    r"\bprogrammes?\b|\bcast\b",  # AU pattern, subjects
    r"(?<!action )\bunits?\b",  # action unit
    r"(?<!by )\bchances?\b(?! (?:level|baselines?))",  # rng, probabilities, chance level
    r"\bpuppet(?:eer)?\b",  # interactive face
    r"\bstacks?\b",  # batched training
    r"\brecipes?\b|\brivals?\b|\btwins?\b|\bstubs?\b",  # defaults, variants, solution notebook, placeholder
    r"\bfacts\b|\b(?:from|run|of)\s+records\b",  # expected values, saved runs
    r"\btrivial\s+maps?\b",  # reference attributions
    r"\blooks\b",  # run, attempt
    r"\bwhat\s+(?:is|was)\s+(?:told|said|shown|seen|planted)\b|\bwhere\s+there\s+(?:is|are)\s+(?:one|some|none)\b",
    r"\b(?:one|two|\d[\d.,]*|[kM]B|seconds?|ms|minutes|frames?|maps?|tokens?|process(?:es)?|clips?|value)\s+"
    r"an?\s+(?:second|clip|fold|frame|core|seed|epoch|pair|region|subject|machine)\b",  # per clip, per fold
    r"\bbody\s+is\s+not\s+public\b",  # we worked from the abstract
)

MODULES = sorted(
    name for _, name, _ in pkgutil.walk_packages(stagkit.__path__, "stagkit.") if not name.startswith("stagkit.cli")
)


def _public(module):
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield name, thing


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_name_the_arguments_there_are(name):
    """A name listed under Args must be a parameter; a function with an Args section lists no stranger."""
    for label, thing in _public(importlib.import_module(name)):
        text = inspect.getdoc(thing) or ""
        assert text, f"{name}.{label} has no docstring"
        section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", text, re.MULTILINE)
        if not section:
            continue
        listed = {
            part.strip().lstrip("*")
            for line in section.group(1).splitlines()
            if (match := re.match(r"^    ([\w*][\w*, ]*?)(?: \([^)]*\))?:(?: |$)", line))
            for part in match.group(1).split(",")
        }
        known = set(inspect.signature(thing).parameters) | set(getattr(thing, "__dataclass_fields__", {}))
        assert listed <= known, f"{name}.{label} documents {sorted(listed - known)}"


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def _read(page) -> str:
    """A page without the tables that scripts wrote between their marks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"<!-- ([^\n]+): made by [^\n]+ -->.*?<!-- (?:\1: end|end of \1) -->", "", text, flags=re.DOTALL)


def _get_blocks(language: str, text: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_commands_and_options_that_exist(page):
    """Every stagkit command of a page parses; in a block of commands with its arguments and the values of its options."""
    from typer.main import get_command

    from stagkit.cli import app

    commands, text = get_command(app).commands, _read(page)
    inline = [line.replace("\n", " ") for line in re.findall(r"`(stagkit [a-z][^`]*)`", text)]
    complete = re.findall(r"^stagkit .+$", _get_blocks("bash", text), re.MULTILINE)
    for line in [*inline, *complete]:
        _, name, *words = shlex.split(line, comments=True)
        assert name in commands, line
        options = {o for p in commands[name].params for o in p.opts}
        assert {w for w in words if w.startswith("--")} <= options | {"--help"}, line
        if line in complete:
            commands[name].make_context(name, words)


def test_pages_show_the_main_commands():
    shown = {line.split()[1] for page in PAGES for line in re.findall(r"stagkit [a-z-]+", _read(page))}
    assert {"phantom", "check-data", "prepare", "evaluate", "explain", "compare", "ablate", "report", "doctor"} <= shown


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_settings_scripts_and_make_targets_that_exist(page):
    from stagkit import StagConfig, TrainConfig

    text = _read(page)
    for part, name in re.findall(r"\b(stag|train)\.([a-z_]+)=", text):
        fields = {"stag": StagConfig, "train": TrainConfig}[part].__dataclass_fields__
        assert name in fields, f"{page}: {part}.{name}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    code = _get_blocks("bash", text) + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", text))
    for target in re.findall(r"^(?:\w+=\S+ )?make (\w+)", code, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: make {target}"
    for script, words in re.findall(r"python benchmarks/(\w+\.py)([^`]*)", text):
        source = "".join(
            (ROOT / "benchmarks" / name).read_text(encoding="utf-8") for name in (script, "recognition.py")
        )
        for option in re.findall(r"--[a-z-]+", words):
            assert f'"{option}"' in source, f"{page}: {script} {option}"


def _slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_of_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_slug, headings), f"{page}: {link}"


def test_every_page_is_reached_from_the_readme():
    linked = set(re.findall(r"\]\(([^)#]+)", _read("README.md"))) | {
        f"benchmarks/{link}" for link in re.findall(r"\]\(benchmarks/([^)#]+)", _read("BENCHMARKS.md"))
    }
    assert set(PAGES) - {"README.md"} <= linked


def test_readme_and_benchmarks_are_short():
    """README is read by a stranger; BENCHMARKS in five minutes, with the long tables on pages of their own."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
    assert len(re.findall(r"\w+", _read("BENCHMARKS.md"))) <= 2000


def find_dialect(text: str) -> list[str]:
    """Words of the former private dialect in prose: not in code, addresses or the targets of links."""
    prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|https?://\S+", " ", text, flags=re.DOTALL)
    return [match.group(0) for pattern in DIALECT for match in re.finditer(pattern, prose, re.IGNORECASE)]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_in_plain_words(page):
    assert find_dialect(_read(page)) == []


@pytest.mark.parametrize(
    "text",
    [
        "phantoms beside real maps",
        "an interrupted run is gone on with",
        "it goes\non",
        "5 clips a second",
        "one token a region",
        "what is told",
        "worth +0.03",
        "is worth much",
        "the graph earns nothing",
        "STSTNet by a hair",
        "a look by hand",
        "the network answers",
        "three looks",
        "judged by",
        "cheating",
    ],
)
def test_dialect_is_found(text):
    assert find_dialect(text)


def test_innocent_words_are_not_dialect():
    text = "action units, in a second step; it is based on a clip; the sealed part; chance level; `--pictures 3`"
    assert find_dialect(text + "; [page](docs/beside.md); leave one subject out; what is known about it") == []


def test_pages_are_spelt_right():
    assert find_misspelt(*(ROOT / page for page in PAGES)) == []
