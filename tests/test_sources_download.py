"""Downloads are whole or not there: against a server of this test's own, which breaks off, lies and changes."""

import hashlib
import http.server
import io
import json
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from kmod.sources.download import download, unzip

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server:
    """A file server whose faults a test sets: `breaks` (bytes after which each reply ends), `ranges`, `etag`."""

    def __init__(self):
        self.content, self.breaks, self.ranges, self.etag, self.asked = CONTENT, [], True, '"one"', []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.reply(self)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/data.bin"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reply(self, request):
        if request.path != "/data.bin":
            return request.send_error(404, "Not here")
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted[6:-1]) if wanted and self.ranges and request.headers.get("If-Range") == self.etag else 0
        if start >= len(self.content):
            return request.send_error(416)
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(self.content) - start))
        if self.etag:
            request.send_header("ETag", self.etag)
        request.end_headers()
        end = start + self.breaks.pop(0) if self.breaks else None
        request.wfile.write(self.content[start:end])
        request.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_download_is_whole_and_its_checksum_is_recorded(server, tmp_path):
    path = download(server.url, tmp_path)
    assert path.read_bytes() == CONTENT and names(tmp_path) == ["checksums.json", "data.bin"]
    record = json.loads((tmp_path / "checksums.json").read_text())
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert record == {"data.bin": {"url": server.url, "sha256": sha256, "bytes": len(CONTENT)}}
    assert download(server.url, tmp_path) == path and len(server.asked) == 1, "asked for again"


def test_a_broken_transfer_goes_on_where_it_broke_off(server, tmp_path):
    server.breaks = [1_000_000, 500_000]
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_truncated_download_is_never_taken_for_whole(server, tmp_path):
    server.breaks = [1_000_000, 10, 10]
    with pytest.raises(ConnectionError, match=r"broke off .* 1,000,020 bytes are kept") as error:
        download(server.url, tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "data.bin").exists()
    assert download(server.url, tmp_path).read_bytes() == CONTENT and server.asked[-1] == "bytes=1000020-"


@pytest.mark.parametrize("fault", ["no ranges", "no version", "weak version"])
def test_a_server_that_cannot_resume_is_asked_for_all_of_it_again(server, tmp_path, fault):
    server.ranges = fault != "no ranges"
    server.etag = {"no version": None, "weak version": 'W/"one"'}.get(fault, server.etag)
    server.breaks = [1_000_000]
    assert download(server.url, tmp_path).read_bytes() == CONTENT and len(server.asked) == 2


def test_a_file_that_changed_meanwhile_is_not_mixed(server, tmp_path):
    server.breaks = [1_000_000]
    with pytest.raises(ConnectionError):
        download(server.url, tmp_path, tries=1)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert download(server.url, tmp_path).read_bytes() == CONTENT[::-1]


def test_a_part_longer_than_the_file_is_begun_again(server, tmp_path):
    server.breaks = [1_000_000]
    with pytest.raises(ConnectionError):
        download(server.url, tmp_path, tries=1)
    server.content = CONTENT[:700_000]
    assert download(server.url, tmp_path).read_bytes() == CONTENT[:700_000]


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match=r"has checksum .* not 000000000000…: not the file wanted") as error:
        download(server.url, tmp_path, sha256="0" * 64)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data.bin").exists() and not (tmp_path / "data.bin.part").exists()


def test_the_first_checksum_is_enforced(server, tmp_path):
    path = download(server.url, tmp_path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match="delete it to get it again"):
        download(server.url, tmp_path)
    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(ValueError, match="not the file wanted"):
        download(server.url, tmp_path)
    assert names(tmp_path) == ["checksums.json"]


def test_a_missing_file_and_no_network_are_one_line(server, tmp_path, monkeypatch):
    with pytest.raises(ConnectionError, match="the server says 404"):
        download(server.url.replace("data.bin", "other.bin"), tmp_path)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(ConnectionError, match="broke off"):
        download(server.url, tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE forbids"):
        download(server.url, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def archive_of(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return path


BOTH = """
import sys, time
from pathlib import Path
from kmod.sources.download import download, unzip

url, folder, me, other = sys.argv[1], *map(Path, sys.argv[2:])

def wanted(name):
    time.sleep(0.2)  # long enough for the other process to find nothing unpacked
    return True

me.touch()
while not other.exists():
    time.sleep(0.01)
print(len(list(unzip(download(url, folder), folder / "out", wanted).iterdir())))
"""


def test_of_two_processes_one_downloads_and_unpacks(server, tmp_path):
    whole = io.BytesIO()
    archive_of(whole, **{f"{i}.txt": "1" for i in range(5)})
    server.content = whole.getvalue()
    ready = [str(tmp_path / "first"), str(tmp_path / "second")]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BOTH, server.url, str(tmp_path / "data"), *order],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for order in (ready, ready[::-1])
    ]  # fmt: skip
    for process in running:
        out, error = process.communicate(timeout=120)
        assert (process.returncode, out.strip()) == (0, "5"), error
    assert len(server.asked) == 1
    assert [name.split("-")[0] for name in names(tmp_path / "data")] == ["checksums.json", "data.bin", "out"]


def test_unzip_takes_what_is_wanted(tmp_path):
    archive = archive_of(tmp_path / "a.zip", **{"data/one.txt": "1", "data/two.bin": "2"})
    folder = unzip(archive, tmp_path / "out", lambda name: name.endswith(".txt"))
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["one.txt"]
    with pytest.raises(ValueError, match="none of the files wanted"):
        unzip(archive, tmp_path / "other", lambda name: False)


@pytest.mark.parametrize(
    "name", ["../evil.txt", "data/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:/evil.txt", "."]
)
def test_a_member_that_would_land_outside_is_refused(tmp_path, name):
    archive = archive_of(tmp_path / "a.zip", **{"fine.txt": "1", name: "2"})
    with pytest.raises(ValueError, match="would land outside"):
        unzip(archive, tmp_path / "in" / "out", lambda name: True)
    assert not list(tmp_path.rglob("evil.txt")) and not names(tmp_path / "in")


def test_a_damaged_archive_leaves_nothing(tmp_path):
    whole = io.BytesIO()
    archive_of(whole, **{"data/one.txt": "1" * 1000, "data/two.txt": "2" * 1000})
    cut, flipped = bytearray(whole.getvalue()[:1500]), bytearray(whole.getvalue())
    flipped[500] ^= 1
    for content in (cut, flipped):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            unzip(tmp_path / "a.zip", tmp_path / "in" / "out", lambda name: True)
        assert not names(tmp_path / "in")
