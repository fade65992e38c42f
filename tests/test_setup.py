"""The set-up on a machine without a screen's libraries, simulated; the README's figures; the pins."""

import re
import subprocess
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import setup_venv  # noqa: E402
import update_readme  # noqa: E402


def test_a_server_without_libgl_gets_the_headless_opencv():
    def load(name):
        if name == "libGL.so.1":
            raise OSError(f"{name}: cannot open shared object file")

    missing = setup_venv.missing_libraries("linux", load)
    assert missing == ["libGL.so.1"]
    lines = setup_venv.requirements(headless=bool(missing)).splitlines()
    assert any(line.startswith("opencv-python-headless==4.14") for line in lines)
    assert not any(line.startswith("opencv-python==") for line in lines)


def test_elsewhere_the_windowed_opencv_is_kept():
    assert setup_venv.missing_libraries("linux", lambda name: None) == []

    def none_at_all(name):
        raise OSError

    assert setup_venv.missing_libraries("win32", none_at_all) == []
    assert setup_venv.missing_libraries("darwin", none_at_all) == []
    lines = setup_venv.requirements(headless=False).splitlines()
    assert any(line.startswith("opencv-python==4.14") for line in lines)
    assert not any(line.startswith("-r") for line in lines)


def test_every_requirement_is_pinned():
    for line in setup_venv.requirements(headless=False).splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[\d.]+(; .+)?", line), line


def test_no_file_is_a_link():
    """A link into a machine leads nowhere on another."""
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert listed and not [line for line in listed.splitlines() if line.startswith("120000")]


def test_the_readme_shows_the_figures_of_the_results():
    text = (ROOT / "README.md").read_text()
    assert update_readme.rendered(text) == text
