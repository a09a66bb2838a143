"""Reads proto/vectors (its README.md says how they are written)."""

import glob
import os
from typing import NamedTuple

from stevedore_client import VECTORS


class Vector(NamedTuple):
    name: str
    data: bytes
    is_frames: bool  # the data is a stream of frames, not one frame's content
    expect: list  # of lists of words


def parse_hex(text):
    """`83 6a*3 # comment` as bytes."""
    data = bytearray()
    for line in text.splitlines():
        for token in line.split("#")[0].split():
            digits, _, count = token.partition("*")
            data += bytes.fromhex(digits) * int(count or 1)
    return bytes(data)


def read(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    expect = [line[len("# expect: ") :].split(" ") for line in comments if line.startswith("# expect: ")]
    name = os.path.relpath(path, VECTORS)[: -len(".hex")]
    return Vector(name, parse_hex(text), "# frames" in comments, expect)


def read_all(directory):
    return [read(path) for path in sorted(glob.glob(os.path.join(VECTORS, directory, "*.hex")))]
