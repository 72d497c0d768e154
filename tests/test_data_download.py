"""Downloads against a local server that does everything a mirror can do wrong."""

import contextlib
import errno
import gzip
import hashlib
import io
import os
import re
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mlcore.data import CATALOG, DownloadError, Entry, Mirror, fetch, load, write_idx
from mlcore.data.catalog import RemoteFile, cached
from mlcore.kernels.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8)
LABELS = (np.arange(300) % 10).astype(np.uint8)


class Server:
    """Serves `files`, or what `answers` has for a path; keeps what was asked in `asked`."""

    def __init__(self, files):
        self.files = files
        self.answers = {}
        self.asked = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                mirror, name = self.path.strip("/").rsplit("/", 1)
                server.asked.append((mirror, name, self.headers.get("Range")))
                answer = server.answers.get((mirror, name), server.answers.get(mirror, good))
                with contextlib.suppress(ConnectionError):
                    answer(self, server.files[name])

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def asked_for(self, name):
        return [(mirror, range_) for mirror, asked, range_ in self.asked if asked == name]


def reply(handler, status, body=b"", **headers):
    handler.send_response(status)
    for key, value in {"Content_Length": len(body), **headers}.items():
        handler.send_header(key.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def good(handler, content):
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if asked is None:
        reply(handler, 200, content)
    elif int(asked[1]) >= len(content):
        reply(handler, 416, Content_Range=f"bytes */{len(content)}")
    else:
        start = int(asked[1])
        stated = f"bytes {start}-{len(content) - 1}/{len(content)}"
        reply(handler, 206, content[start:], Content_Range=stated)


def without_ranges(handler, content):
    reply(handler, 200, content)


def without_length(handler, content):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(content)


def endless(handler, _):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def closed_early(handler, content):
    reply(handler, 200, content[: len(content) // 2], Content_Length=len(content))


def short(handler, content):
    reply(handler, 200, content[: len(content) // 2])


def corrupted(handler, content):
    middle = len(content) // 2
    reply(handler, 200, content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])


def other_content(handler, _):
    reply(handler, 200, gzip.compress(b"another file"))


def other_range(handler, content):
    reply(handler, 206, content, Content_Range=f"bytes 7-{len(content) + 6}/*")


def announced_huge(handler, _):
    reply(handler, 200, Content_Length=10**15)


def silent(handler, _):
    handler.rfile.read(1)


def status(code):
    return lambda handler, _: reply(handler, code, b"no")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "into"


@pytest.fixture
def server(tmp_path, monkeypatch):
    made = tmp_path / "mirror"
    made.mkdir()
    contents, files = {}, []
    for part in ("train", "t10k"):
        for kind, values in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
            name = f"{part}-{kind}-ubyte.gz"
            write_idx(made / name, values)
            contents[name] = (made / name).read_bytes()
            plain = gzip.decompress(contents[name])
            digest = hashlib.sha256(plain).hexdigest()
            files.append(RemoteFile(name, digest, len(plain), len(contents[name])))
    running = Server(contents)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MLCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLCORE_DATA", raising=False)
    monkeypatch.delenv("MLCORE_MIRROR", raising=False)
    monkeypatch.setitem(
        CATALOG,
        "tiny",
        Entry(
            name="tiny",
            images={"train": 300, "test": 300},
            class_names=tuple("0123456789"),
            licence="none",
            source="here",
            files=tuple(files),
            mirrors=(Mirror(f"{running.url}/listed"),),
        ),
    )
    yield running
    running.close()


FIRST = "train-images-idx3-ubyte.gz"
NAMES = [
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


def get(server, folder, *mirrors, **keywords):
    urls = [f"{server.url}/{mirror}" for mirror in mirrors]
    return fetch("tiny", destination=folder, mirrors=urls, timeout=5, **keywords)


def assert_complete(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    train, test = load(folder)
    np.testing.assert_array_equal(train.inputs, IMAGES.reshape(300, -1))
    assert test.targets.tolist() == LABELS.tolist()


def test_good(server, folder):
    done = get(server, folder, "a")
    assert_complete(folder)
    assert list(done.downloaded) == NAMES
    assert done.failures == ()
    assert str(done) == f"tiny is in {folder}: 4 files downloaded"


def test_default_place_is_where_load_looks(server):
    done = fetch("tiny", progress=False)
    assert done.folder == cached("tiny")
    assert len(load("tiny").train) == 300
    assert {mirror for mirror, *_ in server.asked} == {"listed"}


def test_own_mirror_goes_first(server, monkeypatch):
    monkeypatch.setenv("MLCORE_MIRROR", f"{server.url}/own/")
    server.answers["own/tiny", FIRST] = status(404)
    done = fetch("tiny")
    assert server.asked_for(FIRST) == [("own/tiny", None), ("listed", None)]
    assert done.failures == (f"{server.url}/own/tiny/{FIRST} (HTTP 404 Not Found)",)


def test_nothing_is_downloaded_twice(server, folder):
    get(server, folder, "a")
    server.asked.clear()
    done = get(server, folder, "a")
    assert server.asked == []
    assert list(done.kept) == NAMES
    assert str(done).endswith("already and right: nothing was downloaded")
    assert list(get(server, folder, "a", force=True).downloaded) == NAMES
    assert len(server.asked) == 4


def test_unpacked_files_count_as_there(server, folder):
    get(server, folder, "a")
    for path in list(folder.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert len(get(server, folder, "a").kept) == 4
    plain = folder / FIRST.removesuffix(".gz")
    plain.write_bytes(plain.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"is not the official file .* move it away first"):
        get(server, folder, "a")


def test_wrong_file_that_is_there_is_replaced(server, folder):
    folder.mkdir()
    (folder / FIRST).write_bytes(gzip.compress(b"wrong"))
    assert FIRST in get(server, folder, "a").downloaded
    assert_complete(folder)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (closed_early, r"connection closed after [\d,]+ of [\d,]+ bytes"),
        (short, "the gzip data is damaged: Compressed file ended"),
        (corrupted, "the gzip data is damaged|SHA-256 is"),
        (other_content, r"SHA-256 is \w{12}\.\.\., expected \w{12}\.\.\."),
        (other_range, r"answered with another range than the one from byte 0"),
        (announced_huge, "connection closed without any data"),
        (endless, "sent more than the [\\d,]+ bytes the file can have"),
        (status(404), "HTTP 404 Not Found"),
        (status(500), "HTTP 500 Internal Server Error"),
        (status(416), "HTTP 416"),
    ],
)
def test_next_mirror_after(server, folder, fault, reason):
    server.answers["bad"] = fault
    done = get(server, folder, "bad", "good")
    assert_complete(folder)
    # A mirror that failed is not asked first again.
    assert len(done.failures) == 1
    assert re.fullmatch(rf"{server.url}/bad/{FIRST} \(.*({reason}).*\)", done.failures[0])
    assert [mirror for mirror, *_ in server.asked] == ["bad"] + ["good"] * 4


@pytest.mark.parametrize("answer", ["empty", "cut"])
def test_nothing_received_leaves_nothing(server, folder, answer):
    server.answers["a"] = {
        "empty": lambda handler, _: reply(handler, 200),
        "cut": lambda handler, _: reply(handler, 200, Content_Length=100),
    }[answer]
    with pytest.raises(DownloadError, match="closed without any data"):
        get(server, folder, "a", "a/")
    assert len(server.asked) == 1
    assert list(folder.iterdir()) == []


def test_refused_connection(server, folder):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
        done = fetch("tiny", destination=folder, mirrors=[dead, f"{server.url}/good"])
    assert "refused" in done.failures[0]
    assert_complete(folder)


def test_slow_server_is_left_after_the_time_out(server, folder):
    server.answers["slow"] = silent
    urls = [f"{server.url}/slow", f"{server.url}/good"]
    began = time.monotonic()
    done = fetch("tiny", destination=folder, mirrors=urls, timeout=0.2)
    assert time.monotonic() - began < 2
    assert done.failures == (f"{urls[0]}/{FIRST} (no data for 0.2 s)",)
    assert_complete(folder)


def test_server_that_stops_half_way_is_left_after_the_time_out(server, folder):
    def stalls(handler, content):
        reply(handler, 200, content[:1000], Content_Length=len(content))
        handler.wfile.flush()
        handler.rfile.read(1)

    server.answers["slow", FIRST] = stalls
    urls = [f"{server.url}/slow", f"{server.url}/good"]
    done = fetch("tiny", destination=folder, mirrors=urls, timeout=0.2)
    assert "no data for 0.2 s" in done.failures[0]
    assert server.asked_for(FIRST)[1] == ("good", "bytes=1000-")
    assert_complete(folder)


def test_server_without_length(server, folder):
    server.answers["a"] = without_length
    get(server, folder, "a")
    assert_complete(folder)


def part_of(folder, content):
    folder.mkdir(exist_ok=True)
    part = folder / f"{FIRST}.part"
    part.write_bytes(content)
    return part


def test_resumes_where_it_was_cut_off(server, folder):
    half = len(server.files[FIRST]) // 2
    server.answers["cut", FIRST] = closed_early
    with pytest.raises(DownloadError, match=f"connection closed after {half:,} of"):
        get(server, folder, "cut")
    assert (folder / f"{FIRST}.part").stat().st_size == half
    assert not (folder / FIRST).exists()
    del server.answers["cut", FIRST]
    get(server, folder, "cut")
    assert server.asked_for(FIRST) == [("cut", None), ("cut", f"bytes={half}-")]
    assert_complete(folder)


def test_part_resumed_from_a_server_without_ranges(server, folder):
    part_of(folder, server.files[FIRST][:1000])
    server.answers["a"] = without_ranges
    get(server, folder, "a")
    assert server.asked_for(FIRST) == [("a", "bytes=1000-")]
    assert_complete(folder)


@pytest.mark.parametrize("kind", ["of another archive", "too long", "complete"])
def test_part_that_does_not_fit(server, folder, kind):
    whole = server.files[FIRST]
    contents = {
        "of another archive": bytes(1000),
        "too long": whole + bytes([1, 2, 3]),
        "complete": whole,
    }
    part_of(folder, contents[kind])
    get(server, folder, "a")
    # Only a wrong one is asked for again, from zero.
    again = [] if kind == "complete" else [("a", None)]
    assert server.asked_for(FIRST)[1:] == again
    assert_complete(folder)


def test_part_with_another_range_than_asked(server, folder):
    part_of(folder, server.files[FIRST][:1000])
    server.answers["bad", FIRST] = other_range
    done = get(server, folder, "bad", "good")
    assert "answered with another range than the one from byte 1,000" in done.failures[0]
    assert server.asked_for(FIRST)[1] == ("good", "bytes=1000-")
    assert_complete(folder)


def test_all_mirrors_wrong_gives_one_error(server, folder):
    server.answers |= {"a": other_content, "b": status(404)}
    with pytest.raises(DownloadError) as caught:
        get(server, folder, "a", "b")
    message = str(caught.value)
    assert message.startswith(f"could not download tiny: {server.url}/a/{FIRST} (SHA-256 is ")
    assert f"{server.url}/b/{FIRST} (HTTP 404 Not Found)" in message
    assert f"Put {', '.join(NAMES)} into {folder} by hand" in message
    assert "\n" not in message
    assert list(folder.iterdir()) == []


def test_interrupt_leaves_the_part(server, folder, monkeypatch):
    pieces = iter([server.files[FIRST][:500]])

    def next_piece(*_):
        try:
            return next(pieces)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("mlcore.data.download._next", next_piece)
    with pytest.raises(KeyboardInterrupt):
        get(server, folder, "a")
    assert [path.name for path in folder.iterdir()] == [f"{FIRST}.part"]
    monkeypatch.undo()
    assert (folder / f"{FIRST}.part").read_bytes() == server.files[FIRST][:500]


def test_free_space_is_checked_first(server, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DownloadError, match=r"has 0\.0 MB free, [\d.]+ MB are needed"):
        get(server, folder, "a")
    assert server.asked == []


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "the disk is full"), (errno.EIO, "cannot write .*: Input/output error")],
)
def test_disk_errors_are_not_the_mirrors(server, folder, monkeypatch, number, message):
    class Full(io.FileIO):
        def write(self, _):
            raise OSError(number, os.strerror(number))

    path_open = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, mode="r", *rest: (
            Full(self, mode) if mode in ("ab", "wb") else path_open(self, mode, *rest)
        ),
    )
    with pytest.raises(DownloadError, match=message) as caught:
        get(server, folder, "a", "b")
    assert FIRST in str(caught.value)
    assert len(server.asked) == 1
    if number == errno.ENOSPC:
        assert list(folder.iterdir()) == []


def test_what_is_refused_before_anything_is_asked(server, folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="unknown data set 'tinny'"):
        fetch("tinny")
    with pytest.raises(InputError, match="the mirror 'ftp://x' is not a URL"):
        fetch("tiny", mirrors=["ftp://x"])
    with pytest.raises(InputError, match="no mirror to download tiny from"):
        fetch("tiny", mirrors=[])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make the folder"):
        get(server, tmp_path / "file" / "folder", "a")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="is not writable"):
        get(server, folder, "a")
    assert server.asked == []


def test_bundled_sample_needs_no_download():
    assert "nothing was downloaded" in str(fetch("mnist-sample"))


@pytest.mark.parametrize(("terminal", "progress"), [(True, True), (True, False), (False, True)])
def test_bar_only_on_a_terminal(server, folder, monkeypatch, terminal, progress):
    err = io.StringIO()
    err.isatty = lambda: terminal
    monkeypatch.setattr("sys.stderr", err)
    get(server, folder, "a", progress=progress)
    assert (FIRST in err.getvalue()) == (terminal and progress)
    assert_complete(folder)


def test_catalog_lists_four_files_with_digests_and_unverified_mirrors():
    for name in ("mnist", "fashion-mnist"):
        known = CATALOG[name]
        assert [file.name for file in known.files] == NAMES
        assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in known.files)
        assert known.files[0].unpacked_bytes == 16 + 60_000 * 784
        assert len(known.mirrors) >= 2
        assert not any(mirror.verified for mirror in known.mirrors)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_full_sets_have_the_digests_of_the_catalog(name):
    beside = Path(__file__).parents[2] / "shared" / "data"
    full = Path(os.environ.get("MLCORE_DATA") or beside) / name
    if not full.is_dir():
        pytest.skip(f"the full {name} is not there: set MLCORE_DATA to a folder that has it")
    # No mirror answers there, and none is asked for what is there and right.
    assert len(fetch(name, destination=full, mirrors=["http://127.0.0.1:9"]).kept) == 4
