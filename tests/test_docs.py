"""What is written is true: docstrings name the arguments there are, their examples run, README's commands exist."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

import stagkit
from tests.lockfile import ROOT

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


def test_readme_names_commands_and_options_that_exist(capsys):
    """Every stagkit command shown in README and data_README parses: its name and its options are real."""
    from typer.main import get_command

    from stagkit.cli import app

    commands = get_command(app).commands
    text = (ROOT / "README.md").read_text(encoding="utf-8") + (ROOT / "data_README.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL) + re.findall(r"`(stagkit [^`]+)`", text))
    shown = re.findall(r"^(stagkit \w+[^\n#;]*)", code.replace("\nPREP", " PREP"), re.MULTILINE)
    assert len(shown) > 8
    for line in shown:
        _, name, *words = line.split()
        assert name in commands, line
        options = {o for p in commands[name].params for o in p.opts}
        assert {w for w in words if w.startswith("--")} <= options | {"--help"}, line


def test_readme_links_lead_somewhere():
    for page in ("README.md", "data_README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (ROOT / link).exists(), f"{page}: {link}"


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8").split("## What")[0]):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
