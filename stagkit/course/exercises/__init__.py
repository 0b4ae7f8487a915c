"""The checks of the course's exercises: one readable function each.

A check gets the answer (and what the placeholder hands over) and returns a ``Verdict``. It recognises the usual wrong
answers and names the mistake. ``...`` and None never reach it: they are 'not answered yet'.

    @exercise("01.1")
    def frames_in_a_movement(answer, *, fps):
        ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from stagkit.core.errors import StagkitError

#: file of checks -> the notebooks it belongs to
FILES = {
    "motion": ("01", "02", "03", "20"),
    "network": ("04", "05", "06", "12", "21"),
    "scores": ("07", "08", "12", "13", "20"),
    "explanation": ("09", "10", "11"),
}

_CHECKS: dict[str, Callable[..., Verdict]] = {}


@dataclass(frozen=True)
class Verdict:
    """Result of a check: ``ok`` True or False, or None if not answered yet."""

    exercise: str
    ok: bool | None
    text: str

    @property
    def _mark(self) -> str:
        return f"{self.exercise} " + {True: "✓ right", False: "✗ not yet", None: "○ not answered yet"}[self.ok]

    def __str__(self) -> str:
        return f"{self._mark}: {self.text}"

    __repr__ = __str__

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"text/plain": str(self), "text/markdown": f"**{self._mark}:** {self.text}"}
        return data, {"stagkit": {"exercise": self.exercise, "ok": self.ok}}


def exercise(number: str) -> Callable[[Callable[..., Verdict]], Callable[..., Verdict]]:
    """Register a check."""

    def register(check: Callable[..., Verdict]) -> Callable[..., Verdict]:
        _CHECKS[number] = check
        return check

    return register


def right(text: str) -> Verdict:
    """The answer is right; ``text`` says why."""
    return Verdict("", True, text)


def wrong(text: str) -> Verdict:
    """The answer is wrong; ``text`` names the mistake and never the answer."""
    return Verdict("", False, text)


def find_check(number: str) -> Callable[..., Verdict]:
    """The check of an exercise; ``StagkitError`` names those that exist if there is none."""
    notebook = str(number).partition(".")[0]
    for name in (name for name, notebooks in FILES.items() if notebook in notebooks):
        import_module(f"stagkit.course.exercises.{name}")
    if number not in _CHECKS:
        known = ", ".join(sorted(k for k in _CHECKS if k.startswith(f"{notebook}."))) or "none in this notebook"
        raise StagkitError(f"there is no exercise {number!r}; there are: {known}.")
    return _CHECKS[number]


def check_answer(number: str, answer: object, **given: object) -> Verdict:
    """Check an answer; one of the wrong kind is a wrong answer, not an error; ``...`` or None is 'not answered yet'."""
    check = find_check(number)
    if answer is None or answer is Ellipsis:
        return Verdict(number, None, "replace the three dots and run the cell again.")
    try:
        verdict = check(answer, **given)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, RuntimeError) as error:
        verdict = wrong(f"the answer is a {type(answer).__name__} that cannot be checked ({error}); see the question.")
    return Verdict(number, verdict.ok, verdict.text)
