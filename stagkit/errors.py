"""The one family of errors that speak to a person; kept light, so that the command line starts at once."""


class StagkitError(Exception):
    """A mistake in what stagkit was given; the message says what was given, what was expected and what to do."""


class StagkitWarning(UserWarning):
    """Something that goes on, but that a person should know; the command says it in one sentence."""
