"""The exceptions that a script turns into one clear line, with exit code 2 and 130."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line and says what to do about it."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C within a work of which some is done; the message says in one line what is kept, and where."""
