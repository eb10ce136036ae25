"""Fetching one file over HTTP: resumed where it stopped, renamed into place only when it is right."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from harness import __version__, console, files
from harness.errors import OutputError

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_REDRAW_S = 0.1
_REDIRECTIONS = 5
_AGENT = {"User-Agent": f"inference-harness/{__version__}"}
_LINKED = "X-Linked-Etag"
"""The hash of a large file, as a hub's answer names it that points to where the file lies."""


class DownloadFailed(Exception):
    """Why the file did not arrive, in words that fit between parentheses."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, whose answer is what we want."""

    def redirect_request(self, *_: Any) -> None:
        return None


def head(url: str) -> Mapping[str, str]:
    """Return the headers of the first answer about `url` itself; redirections on its server are followed.

    Raises:
        DownloadFailed: no network, or the server refused.
    """
    opener = urllib.request.build_opener(_Stay)
    for _ in range(_REDIRECTIONS):
        request = urllib.request.Request(url, headers=_AGENT, method="HEAD")
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as response:
                return dict(response.headers)
        except urllib.error.HTTPError as error:
            error.close()
            target = urllib.parse.urljoin(url, error.headers.get("Location", ""))
            if not 300 <= error.code < 400:
                raise DownloadFailed(f"the server answered {error.code} {error.reason}") from error
            if _place(target) != _place(url) or target == url or _LINKED in error.headers:
                return dict(error.headers)
            url = target
        except (OSError, http.client.HTTPException) as error:
            raise DownloadFailed(f"{_reason(error)}") from error
    raise DownloadFailed("the server sends us round in circles")


def _place(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc


def _reason(error: Exception) -> Any:
    return error.reason if isinstance(error, urllib.error.URLError) else error


def download(url: str, path: Path, check: Callable[[Path], None], *, again: bool = False) -> None:
    """Fetch `url` to `path`, going on with `path`.part where an earlier attempt stopped.

    Args:
        url: http or https address.
        path: target, replaced atomically; its folder is created.
        check: raises DownloadFailed when the whole file is not the one wanted.
        again: whether to fetch it even if it is there and right.

    Raises:
        DownloadFailed: no network, the server refused, the connection broke, the file is wrong, or another
            process is fetching it.
        OutputError: the folder cannot be written, or has no room.
    """
    files.make_writable_folder(path.parent)
    with files.locked(path.with_name(f".{path.name}.lock"), DownloadFailed("another process is fetching it")):
        # Another process may have fetched it since our caller looked.
        if again or not _is_right(path, check):
            _download(url, path, check)


def _is_right(path: Path, check: Callable[[Path], None]) -> bool:
    if not path.is_file():
        return False
    try:
        check(path)
    except DownloadFailed:
        return False
    return True


def _download(url: str, path: Path, check: Callable[[Path], None]) -> None:
    part = path.with_name(f"{path.name}.part")
    resumed = part.exists() and part.stat().st_size > 0
    try:
        _fill(url, part)
        _check_or_remove(part, check)
    except _WrongPart:
        if not resumed:
            raise
        # What we resumed belonged to another version of the file: start afresh, once.
        _fill(url, part)
        _check_or_remove(part, check)
    part.replace(path)


class _WrongPart(DownloadFailed):
    pass


def _check_or_remove(part: Path, check: Callable[[Path], None]) -> None:
    try:
        check(part)
    except DownloadFailed as error:
        part.unlink()
        raise _WrongPart(str(error)) from error


def _fill(url: str, part: Path) -> None:
    done = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, done)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or done == 0:
            raise DownloadFailed(f"the server answered {error.code} {error.reason}") from error
        if error.headers.get("Content-Range") == f"bytes */{done}":
            return
        part.unlink()
        raise _WrongPart("the part fetched earlier is longer than the file") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadFailed(f"{_reason(error)}") from error
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            done = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            part.unlink()
            raise _WrongPart("the server sent another range than asked for")
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        if total is not None:
            files.require_free_space(part.parent, total - done, part.stem)
        _copy(response, part, done, total)


def _open(url: str, start: int) -> http.client.HTTPResponse:
    headers = dict(_AGENT)
    if start:
        headers["Range"] = f"bytes={start}-"
    response: http.client.HTTPResponse = urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S
    )
    return response


def _copy(response: http.client.HTTPResponse, part: Path, done: int, total: int | None) -> None:
    start, began, drawn = done, monotonic(), 0.0
    with part.open("ab" if done else "wb") as file, console.progress(part.stem, total, counts=False) as bar:
        while True:
            try:
                block = response.read(_BLOCK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise DownloadFailed(_broken(done, total, error)) from error
            if not block:
                break
            try:
                file.write(block)
            except OSError as error:
                raise OutputError(
                    f"Cannot write {part} ({error.strerror}): free some space there."
                ) from error
            done += len(block)
            if (now := monotonic()) - drawn > _REDRAW_S or done == total:
                drawn = now
                rate = (done - start) / max(now - began, 1e-9)
                bar.update(done, rate=f"{files.format_bytes(done)}, {files.format_bytes(rate)}/s")
    if total is not None and done < total:
        raise DownloadFailed(_broken(done, total))


def _broken(done: int, total: int | None, error: Exception | None = None) -> str:
    of = "" if total is None else f" of {files.format_bytes(total)}"
    why = f": {error}" if error else ""
    return (
        f"the connection broke after {files.format_bytes(done)}{of}{why}; the same command goes on from there"
    )
