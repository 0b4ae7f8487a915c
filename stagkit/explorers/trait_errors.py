"""What a trait says when it is set to something it cannot show: the same sentence, and the old value stands."""

from __future__ import annotations

from collections.abc import Callable

from stagkit.core.errors import import_optional
from stagkit.core.types import StagkitError

traitlets = import_optional("traitlets")


class WidgetError(StagkitError, traitlets.TraitError):
    """A trait was set to something the explorer cannot show; its old value stands."""


def told(check: Callable, *args: object):
    """Run a check; what it says becomes a trait's error, so that the old value is kept."""
    try:
        return check(*args)
    except WidgetError:
        raise
    except StagkitError as error:
        raise WidgetError(str(error)) from None
