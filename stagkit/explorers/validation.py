"""Checks of what an explorer or its figure was asked for; each error lists what is possible."""

from __future__ import annotations

from stagkit.core.types import StagkitError

#: Options that an error lists; of more it gives the number.
_MOST_LISTED = 24


def check_choice(name: str, value: object, options: tuple) -> None:
    """Raise unless ``value`` is one of ``options``."""
    if value not in options:
        shown = ", ".join(map(repr, options[:_MOST_LISTED]))
        shown += f" ... ({len(options)} in all)" if len(options) > _MOST_LISTED else ""
        raise StagkitError(f"`{name}` is {value!r}, expected one of {shown}.")


def check_range(name: str, value: float, low: float, high: float, meaning: str = "") -> None:
    """Raise unless ``value`` is between ``low`` and ``high``."""
    if not low <= value <= high:
        raise StagkitError(f"`{name}` is {value!r}, expected {low:g} to {high:g}{meaning and f' ({meaning})'}.")


def check_frame(frame: int, clip_id: str, n_frames: int, first: int = 0) -> int:
    """The frame, if the clip has it; -1 stands for all frames where ``first`` is -1."""
    if not first <= frame < n_frames:
        more = ", or -1 for all frames together" if first < 0 else ""
        raise StagkitError(f"`frame` is {frame}, clip {clip_id!r} has the frames 0..{n_frames - 1}{more}.")
    return int(frame)


def check_index(name: str, value: object, names: tuple[str, ...]) -> int:
    """Position of something given by number or by name; raises StagkitError if there is none, or several."""
    if isinstance(value, str):
        check_choice(name, value, tuple(names))
        found = [i for i, other in enumerate(names) if other == value]
        if len(found) > 1:
            raise StagkitError(f"{len(found)} clips are called {value!r}: give the index instead, one of {found}.")
        return found[0]
    if isinstance(value, bool) or not 0 <= int(value) < len(names):
        raise StagkitError(f"`{name}` is {value}, expected 0..{len(names) - 1} (or a name, e.g. {names[0]!r}).")
    return int(value)
