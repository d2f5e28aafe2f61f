"""The one exception for what a user can mend."""


class InputError(ValueError):
    """Something the user gave cannot be used: a folder, a field, an image, a checkpoint.

    The message is one line that says what was needed, what came and what to do. `main` prints
    it and exits with status 1; every other exception is a bug and keeps its traceback.
    """
