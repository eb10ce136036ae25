"""In which files an ONNX model keeps its weights, read from the file itself without the onnx package.

Field numbers and types are those of onnx.proto (github.com/onnx/onnx, onnx/onnx.proto), the encoding is that
of Protocol Buffers (protobuf.dev/programming-guides/encoding).
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_TRAVERSED = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
}  # fmt: skip
"""Which fields of which message lead to tensors, and what message each holds."""
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1
_KEY, _VALUE = 1, 2

_Span = tuple[int, int]


def external_files(path: Path) -> list[Path]:
    """Return the files beside an ONNX file that hold tensors of it, in order of their names.

    They need not exist. What is no ONNX file, or only a part of one, has none.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                names = set(_locations(content, (0, len(content)), "model"))
            except (ValueError, IndexError):
                return []
    return [path.parent / name for name in sorted(names)]


def _locations(content: mmap.mmap, span: _Span, message: str) -> Iterator[str]:
    if message == "tensor":
        yield from _location(content, span)
        return
    for number, value in _fields(content, span):
        held = _TRAVERSED[message].get(number)
        if held is not None and isinstance(value, tuple):
            yield from _locations(content, value, held)


def _location(content: mmap.mmap, span: _Span) -> Iterator[str]:
    """Yield where a tensor's bytes lie, if not in the ONNX file."""
    place, entries = 0, []
    for number, value in _fields(content, span):
        if number == _DATA_LOCATION and isinstance(value, int):
            place = value
        elif number == _EXTERNAL_DATA and isinstance(value, tuple):
            entries.append(dict(_fields(content, value)))
    if place != _EXTERNAL:
        return
    for entry in entries:
        key, value = (entry.get(number, (0, 0)) for number in (_KEY, _VALUE))
        if isinstance(key, tuple) and isinstance(value, tuple) and content[slice(*key)] == b"location":
            yield content[slice(*value)].decode("utf-8")


def _fields(content: mmap.mmap, span: _Span) -> Iterator[tuple[int, int | _Span]]:
    """Yield the fields of a message: number, and the value of a varint or the span of any other.

    Raises:
        ValueError, IndexError: it is no message, or is cut.
    """
    place, end = span
    while place < end:
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if kind == _BYTES:
            size, place = _varint(content, place)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if place + size > end:
            raise ValueError("cut")
        yield number, (place, place + size)
        place += size


def _varint(content: mmap.mmap, place: int) -> tuple[int, int]:
    """Return the number that starts at a place, and the place after it."""
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
