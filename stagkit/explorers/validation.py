"""Is what was asked for among what there is? One sentence where it is not; for figures and explorers alike."""

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


def check_index(name: str, value: object, names: tuple[str, ...]) -> int:
    """Position of something given by number or by name.

    Raises:
        StagkitError: there is no such thing.
    """
    if isinstance(value, str):
        check_choice(name, value, tuple(names))
        return tuple(names).index(value)
    if isinstance(value, bool) or not 0 <= int(value) < len(names):
        raise StagkitError(f"`{name}` is {value}, expected 0..{len(names) - 1} (or a name, e.g. {names[0]!r}).")
    return int(value)
