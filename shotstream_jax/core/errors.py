"""The exception for a caller's mistakes, by which the command line tells them from bugs."""


class InputError(ValueError):
    """A bad argument, file or prompt. The message is one line: what was wrong, and the remedy."""
