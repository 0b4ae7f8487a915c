"""Files of settings, read with bounds: they may come from anyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stagkit.core.config import ConfigError
from stagkit.core.files import shorten

#: Largest file of settings, bytes; most values in it; deepest nesting (stagkit's choices).
MAX_BYTES, MAX_VALUES, MAX_DEPTH = 1_000_000, 10_000, 20


def parse_yaml(text: str) -> Any:
    """Plain values from YAML; a ``ConfigError`` for aliases (they multiply) and beyond the bounds above."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Counts what it composes."""

        n_values = depth = 0

        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                raise ConfigError("aliases (*name) are not read in settings: write the value again.")
            self.n_values, self.depth = self.n_values + 1, self.depth + 1
            if self.n_values > MAX_VALUES or self.depth > MAX_DEPTH:
                raise ConfigError(f"it holds more than {MAX_VALUES} values or {MAX_DEPTH} levels of nesting.")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    if len(text) > MAX_BYTES:
        raise ConfigError(f"it holds {len(text)} characters, expected at most {MAX_BYTES}.")
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"it is no YAML: {shorten(str(error))}.") from error
    except (ValueError, TypeError, AttributeError, LookupError) as error:  # a date 2001-99-99, a number of 5,000 digits
        raise ConfigError(f"it holds a value that cannot be read: {shorten(str(error))}.") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A file of settings as plain values; a ``ConfigError`` if it is not regular, too large or no YAML mapping."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} cannot be read as settings: it is no regular file.")
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size} bytes, expected settings of at most {MAX_BYTES}.")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ConfigError(f"{path} cannot be read as settings: {words}.") from error
    try:
        values = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be read as settings: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, expected 'name: value' lines.")
    return values
