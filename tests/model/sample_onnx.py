"""Small ONNX files, made without the onnx package."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

Message = bytes


def message(fields: Mapping[int, int | bytes | str | list[Message]]) -> Message:
    """Return a message of Protocol Buffers: its fields by number, a list where one is repeated."""
    found = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                found += varint(number << 3) + varint(one)
            else:
                content = one.encode() if isinstance(one, str) else one
                found += varint(number << 3 | 2) + varint(len(content)) + content
    return found


def varint(value: int) -> bytes:
    found = b""
    while value >= 0x80:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def external(name: str, count: int, location: str) -> Message:
    """Return a tensor of `count` float32 that lies in another file."""
    entries = {"location": location, "offset": "0", "length": str(4 * count)}
    pairs = [message({1: key, 2: value}) for key, value in entries.items()]
    return message({1: count, 2: 1, 8: name, 13: pairs, 14: 1})


def node(
    kind: str, inputs: list[str], output: str, attributes: Mapping[str, Message] | None = None
) -> Message:
    named = [message({1: name}) + value for name, value in (attributes or {}).items()]
    return message({1: [one.encode() for one in inputs], 2: output, 4: kind, 5: named})


def tensor_attribute(tensor: Message) -> Message:
    return message({5: tensor, 20: 4})


def graph_attribute(graph: Message) -> Message:
    return message({6: graph, 20: 5})


def port(name: str, shape: list[int]) -> Message:
    dimensions = message({1: [message({1: size}) for size in shape]})
    return message({1: name, 2: message({1: message({1: 1, 2: dimensions})})})


def write_sum(path: Path, location: str, place: str = "initializer", count: int = 4) -> None:
    """Write a model that adds `count` numbers to its input; they lie in the file at `location`.

    `place` says how the model holds them: as an initializer, in an attribute, or in that of a branch.
    """
    numbers = external("w", count, location)
    constant = node("Constant", [], "w", {"value": tensor_attribute(numbers)})
    fields: dict[int, int | bytes | str | list[Message]] = {
        2: "sum", 11: [port("x", [1, count])], 12: [port("y", [1, count])]
    }  # fmt: skip
    if place == "initializer":
        fields |= {1: [node("Add", ["x", "w"], "y")], 5: [numbers]}
    elif place == "attribute":
        fields |= {1: [constant, node("Add", ["x", "w"], "y")]}
    else:
        branch = message({1: [constant], 2: "branch", 12: [port("w", [count])]})
        yes = message({2: 9, 8: "yes", 9: b"\x01"})
        either = {"then_branch": graph_attribute(branch), "else_branch": graph_attribute(branch)}
        fields |= {1: [node("If", ["yes"], "v", either), node("Add", ["x", "v"], "y")], 5: [yes]}
    opset = message({1: "", 2: 13})
    path.write_bytes(message({1: 8, 7: message(fields), 8: opset}))


def write_numbers(path: Path, value: float, count: int = 4) -> None:
    """Write what `write_sum`'s model adds."""
    path.parent.mkdir(exist_ok=True)
    np.full(count, value, np.float32).tofile(path)
