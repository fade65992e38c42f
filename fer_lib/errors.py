"""The one exception that a script turns into a clear line and exit code 2."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line and says what to do about it."""
