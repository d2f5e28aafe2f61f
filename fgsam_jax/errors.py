"""The one exception for what a user can mend."""

_LONGEST = 600  # characters of a message; what a file says of itself may be a megabyte


class InputError(ValueError):
    """Something the user gave cannot be used: a folder, a field, an image, a checkpoint.

    The message is one line that says what was needed, what came and what to do. `main` prints
    it and exits with status 1; every other exception is a bug and keeps its traceback.
    """

    def __init__(self, message: object):
        super().__init__(printable(message, _LONGEST))


def printable(text: object, limit: int = 100) -> str:
    r"""Text in one line that a terminal only shows, cut in its middle to `limit` characters.

    Names and values that come from files pass through this before a person sees them: they may
    hold line ends, a terminal's commands, or a megabyte.

    >>> printable("a\nb\x1b[31m")
    'a b\\x1b[31m'
    """
    text = str(text)
    if len(text) > limit:
        begin = limit * 2 // 3
        text = f"{text[:begin]} ... {text[len(text) - (limit - begin) :]}"
    text = " ".join(text.splitlines()) if len(text.splitlines()) > 1 else text
    return "".join(x if x.isprintable() else ascii(x)[1:-1] for x in text)
