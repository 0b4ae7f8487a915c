"""Words that are often misspelt, looked for in everything a reader meets; terms of the field stand in pyproject.toml."""

import json
import subprocess
import sys

from tests.lockfile import ROOT

PAGES = ("*.md", "figures/*.md", "stagkit/**/*.md", "CITATION.cff", "Makefile")
SOURCES = ("stagkit/**/*.py", "stagkit/**/*.js", "stagkit/**/*.css", "tests/*.py", "benchmarks/*.py", "benchmarks/*.sh")


def find_misspelt(*paths) -> list[str]:
    """Lines 'file:line: word ==> words' of codespell."""
    settings = ("--toml", str(ROOT / "pyproject.toml"), "--disable-colors")
    command = [sys.executable, "-m", "codespell_lib", *settings, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode in (0, 65) and not done.stderr, done.stderr
    return done.stdout.splitlines()


def find_files(patterns):
    found = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    assert len(found) >= len(patterns)
    return found


def test_pages_and_sources_are_spelt_right():
    others = [path for path in find_files((*PAGES, *SOURCES)) if path.name != "test_spelling.py"]
    assert find_misspelt(*others) == []


def test_notebooks_are_spelt_right(tmp_path):
    """Sources of all cells, one file a notebook: outputs are pictures and numbers."""
    notebooks = find_files(("notebooks/[0-9][0-9]_*.ipynb",))
    assert len(notebooks) == 15
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        (tmp_path / f"{path.stem}.md").write_text("\n\n".join("".join(c["source"]) for c in cells), encoding="utf-8")
    assert find_misspelt(tmp_path) == []


def test_a_misspelt_word_is_found(tmp_path):
    (tmp_path / "page.md").write_text("one\nteh recieved face\n", encoding="utf-8")
    found = find_misspelt(tmp_path / "page.md")
    assert [line.split(":", 1)[1].split(": ")[-1] for line in found] == ["teh ==> the", "recieved ==> received"]
