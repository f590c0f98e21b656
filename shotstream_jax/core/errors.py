"""The one exception that means "the caller's mistake", so that the command line can tell it from a bug."""


class InputError(ValueError):
    """A bad argument, file or prompt. The message is one line: what was wrong, and the remedy."""
