"""What test_jobs.py lets worker processes do: they import it by name."""

from __future__ import annotations

import os
import signal
import time

from conftest import WITHIN_S

from fer_lib.errors import InputError
from fer_lib.files import replacing
from fer_lib.jobs import Outcome


def make_work():
    """By the source's name: refuse, fail, die, wait for another, wait for ever, or write the process's number."""

    def work(job, step):
        step()
        if job.source == "refused":
            raise InputError(f"{job.source}: not a video")
        if job.source == "unreadable":
            raise PermissionError(13, "Permission denied", job.source)
        with replacing(job.table) as temporary:
            temporary.write_text(str(os.getpid()))
            if job.source == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if job.source == "pair":  # at the same time as another
                _wait(lambda: len(list(job.table.parent.glob("*pair_fer*"))) == 2)
            if job.source == "after":  # the endless one has begun
                _wait(lambda: list(job.table.parent.glob(".endless_fer*")))
            for _ in range(100 - 1) if job.source == "slow" else ():
                step()
                time.sleep(0.02)
            while job.source == "endless":
                step()
                time.sleep(0.02)
        return Outcome(job)

    return work


def _wait(look) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not look():
        if time.monotonic() > deadline:
            raise InputError("nobody came")
        time.sleep(0.02)


def no_work():
    raise InputError("there is no such model")
