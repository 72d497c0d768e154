"""Downloading a known set: mirrors in turn, resumed where cut off, trusted by checksum only."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http
import http.client
import os
import re
import shutil
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlcore.data.catalog import RemoteFile, cached, entry, places
from mlcore.data.compressed import open_plain
from mlcore.kernels.errors import InputError

_CHUNK = 1 << 16

# A mirror may compress worse than the official archives, but not to more than this.
_MOST_OVERHEAD = 1 << 16


class DownloadError(InputError):
    """A set could not be downloaded; the message lists what was tried and what to do."""


class _Failure(Exception):
    """One attempt failed, for the reason in the message; another mirror may do better."""


@dataclass(frozen=True)
class Fetched:
    """What `fetch` did.

    Attributes
    ----------
    name
        The set.
    folder
        Where its files are.
    downloaded
        The names of the files that were downloaded.
    kept
        The names of those that were there already, and right.
    failures
        Attempts that failed before another mirror succeeded, each a URL and a reason.
    """

    name: str
    folder: Path
    downloaded: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.downloaded:
            return f"{self.name} is in {self.folder} already and right: nothing was downloaded"
        count = len(self.downloaded)
        return f"{self.name} is in {self.folder}: {count} file{'s' * (count > 1)} downloaded"


def fetch(
    name: str,
    *,
    destination: str | os.PathLike[str] | None = None,
    mirrors: Sequence[str] | None = None,
    progress: bool = True,
    force: bool = False,
    timeout: float = 30.0,
) -> Fetched:
    """Download a known set, and check every byte of it.

    A file gets its name only after its unpacked content has the right SHA-256. One that is cut off
    leaves ``name.part``, from which the next call, or the next mirror, goes on.

    Parameters
    ----------
    name
        ``"mnist"`` or ``"fashion-mnist"``. The bundled ``"mnist-sample"`` needs no download.
    destination
        The folder to put the files into; it is made. Default: the cache,
        `mlcore.data.catalog.cached`.
    mirrors
        URLs of folders that hold the files, tried in order. Default: the folder `name` of
        ``$MLCORE_MIRROR`` if that is set, then the catalog's.
    progress
        Show a bar for each file, if standard error is a terminal.
    force
        Download also what is there and right.
    timeout
        Seconds to wait for a connection, and for each next piece of data.

    Returns
    -------
    Fetched
        What was downloaded and what was there; ``str()`` of it is a sentence.

    Raises
    ------
    InputError
        The set or a mirror's URL is not known, or the destination cannot be written to.
    DownloadError
        No mirror gave a right file, or the disk is full.
    """
    known = entry(name)
    if not known.files:
        return Fetched(name, places(name)[0])
    folder = Path(destination).expanduser() if destination is not None else cached(name)
    order = _mirrors(name, mirrors)
    right = [file for file in known.files if _already_right(folder, file)]
    kept = [] if force else right
    wanted = [file for file in known.files if file not in kept]
    if wanted:
        _prepare(folder, sum(file.archive_bytes for file in wanted))
    failures: list[str] = []
    for file in wanted:
        failed: list[str] = []
        # What failed goes to the end, so that a dead mirror is waited for once.
        for base in tuple(order):
            url = f"{base}/{file.name}"
            try:
                _fetch_one(url, folder / file.name, file, progress, timeout)
                break
            except _Failure as reason:
                failed.append(f"{url} ({reason})")
                order.remove(base)
                order.append(base)
        else:
            raise DownloadError(
                f"could not download {name}: {'; '.join(failed)}. Put "
                f"{', '.join(each.name for each in known.files)} into {folder} by hand, or name "
                "a mirror in MLCORE_MIRROR."
            )
        failures += failed
    return Fetched(
        name,
        folder,
        tuple(file.name for file in wanted),
        tuple(file.name for file in kept),
        tuple(failures),
    )


def _mirrors(name: str, given: Sequence[str] | None) -> list[str]:
    if given is not None:
        urls = list(given)
    else:
        own = os.environ.get("MLCORE_MIRROR")
        urls = [f"{own.rstrip('/')}/{name}"] if own else []
        urls += [mirror.url for mirror in entry(name).mirrors]
    for url in urls:
        if not re.match(r"https?://[^/]", url):
            raise InputError(f"the mirror {url!r} is not a URL: it starts with http:// or https://")
    if not urls:
        raise InputError(f"no mirror to download {name} from: give one or more URLs")
    return list(dict.fromkeys(url.rstrip("/") for url in urls))


def _already_right(folder: Path, file: RemoteFile) -> bool:
    """Tell whether `folder` has the file, packed or not.

    Raises
    ------
    InputError
        It is there unpacked and wrong: that one would be read, and not the one downloaded.
    """
    plain, packed = folder / file.name.removesuffix(".gz"), folder / file.name
    if plain.is_file():
        if (fault := _fault(plain, file)) is not None:
            raise InputError(f"{plain} is not the official file ({fault}): move it away first")
        return True
    return packed.is_file() and _fault(packed, file) is None


def _prepare(folder: Path, needed: int) -> None:
    """Make `folder`, and see that `needed` bytes fit in there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"the folder {folder} is not writable; name another destination")
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{folder} has {free / 1e6:.1f} MB free, {needed / 1e6:.1f} MB are needed; free some "
            "space or name another destination"
        )


def _fetch_one(url: str, path: Path, file: RemoteFile, progress: bool, timeout: float) -> None:
    """Download one file and check it, or raise `_Failure`."""
    part = path.with_name(f"{path.name}.part")
    resumed = part.is_file() and part.stat().st_size > 0
    try:
        _receive(url, part, file, progress, timeout)
        fault = _fault(part, file)
        # What it was resumed from may be another mirror's archive, or an older one: once from zero.
        if fault is not None and resumed:
            part.unlink()
            _receive(url, part, file, progress, timeout)
            fault = _fault(part, file)
        if fault is not None:
            part.unlink()
            raise _Failure(fault)
        with part.open("rb+") as received:
            os.fsync(received.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise DownloadError(f"cannot write {part}: {error.strerror or error}") from error
        part.unlink(missing_ok=True)
        raise DownloadError(
            f"the disk is full: {path} could not be written, and what had arrived of it was removed"
        ) from error


def _receive(url: str, part: Path, file: RemoteFile, progress: bool, timeout: float) -> None:
    """Receive into `part` what is still missing, or raise `_Failure` for what the network did."""
    have = part.stat().st_size if part.is_file() else 0
    response = _open(url, have, timeout)
    if response is None:
        return
    with response:
        start = _start(response, have)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        most = file.unpacked_bytes + _MOST_OVERHEAD
        received = start
        with part.open("ab" if start else "wb") as out, _bar(file, start, total, progress) as step:
            while received <= most and (chunk := _next(response, timeout)):
                out.write(chunk)
                received += len(chunk)
                step(len(chunk))
    if received > most:
        part.unlink()
        raise _Failure(f"sent more than the {most:,} bytes the file can have")
    if not received:
        part.unlink()
        raise _Failure("connection closed without any data")
    if total is not None and received < total:
        raise _Failure(f"connection closed after {received:,} of {total:,} bytes")


def _open(url: str, have: int, timeout: float) -> http.client.HTTPResponse | None:
    """Ask for `url` from byte `have` on; None if the server has nothing beyond that."""
    request = urllib.request.Request(url, headers={"User-Agent": "mlcore"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _network(timeout):
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                error.close()
                return None
            raise
    return response


def _start(response: http.client.HTTPResponse, have: int) -> int:
    """Return the byte that an answer starts at: `have`, or 0 where the range was ignored."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    stated = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if stated is None or int(stated[1]) not in (0, have):
        raise _Failure(f"answered with another range than the one from byte {have:,}")
    return int(stated[1])


def _next(response: http.client.HTTPResponse, timeout: float) -> bytes:
    with _network(timeout):
        return response.read1(_CHUNK)


@contextmanager
def _network(timeout: float) -> Iterator[None]:
    """Turn whatever the network does wrong into `_Failure`; the disk's errors are not its."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _Failure(f"HTTP {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise _Failure(f"no data for {timeout:g} s") from error
    except urllib.error.URLError as error:
        late = isinstance(error.reason, TimeoutError)
        raise _Failure(f"no data for {timeout:g} s" if late else str(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Failure(str(error) or type(error).__name__) from error


@contextmanager
def _bar(
    file: RemoteFile, start: int, total: int | None, progress: bool
) -> Iterator[Callable[[int], object]]:
    """Yield what is called with the number of bytes of each piece."""
    if not (progress and sys.stderr.isatty()):
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(initial=start, total=total, unit="B", unit_scale=True, desc=file.name) as bar:
        yield bar.update


def _fault(path: Path, file: RemoteFile) -> str | None:
    """Return what is wrong with the unpacked content of a file, or None."""
    digest = hashlib.sha256()
    unpacked = 0
    try:
        with open_plain(path) as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                unpacked += len(chunk)
                if unpacked > file.unpacked_bytes:
                    return f"unpacks to more than {file.unpacked_bytes:,} bytes"
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return f"the gzip data is damaged: {error}"
    if digest.hexdigest() != file.sha256:
        return f"SHA-256 is {digest.hexdigest()[:12]}..., expected {file.sha256[:12]}..."
    return None
