"""Make .venv and install the pinned requirements: `python tools/setup_venv.py` on Linux, macOS and Windows alike.

Needs Python 3.11 or newer and a package index, nothing else. Where the system lacks the libraries that opencv-python's
window needs (a bare server has no libGL), its headless twin of the same version is installed instead.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WINDOW_LIBRARIES = ("libGL.so.1", "libgthread-2.0.so.0")  # what opencv-python's cv2 links to on Linux
OLDEST, NEWEST = (3, 11), (3, 13)


def missing_libraries(platform: str = sys.platform, load=ctypes.CDLL) -> list[str]:
    """The system libraries opencv-python wants and this machine lacks; none on Windows and macOS."""
    missing = []
    for name in WINDOW_LIBRARIES if platform.startswith("linux") else ():
        try:
            load(name)
        except OSError:
            missing.append(name)
    return missing


def requirements(headless: bool, folder=ROOT) -> str:
    """The lines of all requirement files, with the headless OpenCV in place of the other if wanted."""
    names = ("requirements.txt", "requirements-dask.txt", "requirements-dev.txt")
    text = "".join((Path(folder) / name).read_text() for name in names)
    text = re.sub(r"^-r .+\n", "", text, flags=re.M)
    return re.sub(r"^opencv-python==", "opencv-python-headless==", text, flags=re.M) if headless else text


def main() -> int:
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        print(f"error: Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    missing = missing_libraries()
    if missing:
        print(f"{', '.join(missing)} not found: installing the headless OpenCV (all but live windows works)")
    python = ROOT / ".venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ROOT / ".venv")], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    print("installing the pinned requirements into .venv (about 3 GB; minutes) ...", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Path(temporary) / "requirements.txt"
        wanted.write_text(requirements(headless=bool(missing)))
        done = subprocess.run([*pip, "-r", str(wanted)])
    if done.returncode:
        print("error: the requirements could not be installed; check the network and run this again", file=sys.stderr)
        return 2
    (ROOT / ".venv" / "ready").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
