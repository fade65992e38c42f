"""The exceptions that a script turns into one clear line, with exit code 2 and 130, and what such a line may hold."""

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line and says what to do about it."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C within a work of which some is done; the message says in one line what is kept, and where."""


def one_line(text) -> str:
    r"""A text as it can go to a terminal: control characters, which a file's name may have, are spelt out (\x1b)."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(text))
