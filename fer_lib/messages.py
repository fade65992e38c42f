"""Words and lines for a person, most of them at a terminal."""

import os
import re
import sys

from fer_lib.errors import InputError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def one_line(text) -> str:
    r"""A text as it can go to a terminal: control characters, which a file's name may have, are spelt out (\x1b)."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(text))


def counted(number: int, noun: str) -> str:
    """ "1 face", "2 faces"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def complain(message) -> None:
    """One line on stderr about what cannot be used."""
    inform("error: " + " ".join(str(message).split()))


def inform(text) -> None:
    """A line on stderr, at once, about work that goes on."""
    print(one_line(text), file=sys.stderr, flush=True)


def say(text) -> None:
    """A line on stdout, at once. When its reader has gone (`| head`), the work goes on in silence."""
    try:
        print(one_line(text), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise InputError(f"cannot write to standard output: {error.strerror}; send it elsewhere") from None
