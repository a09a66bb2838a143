#!/usr/bin/env python3
"""seed.py DIRECTORY [LARGEST]: the vectors as seeds, in DIRECTORY/{frames,etf,msgpack}, those of at most LARGEST bytes
(default 4096).

Bytes, not text: what a fuzz target takes. `frames` gets them with their lengths, the others the message as one term.
"""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
import vectors


def seeds_of(vector):
    """Pairs of a target and its input."""
    if vector.is_frames:
        yield "frames", vector.data
        return
    yield "frames", struct.pack(">I", len(vector.data)) + vector.data
    if vector.data[0] == 0x83:
        yield "etf", vector.data[1:]
    else:
        yield "msgpack", vector.data


def write_seeds(directory, largest):
    for vector in vectors.read_all("valid") + vectors.read_all("invalid"):
        for target, data in seeds_of(vector):
            if len(data) <= largest:
                os.makedirs(os.path.join(directory, target), exist_ok=True)
                with open(os.path.join(directory, target, vector.name.replace("/", "-")), "wb") as file:
                    file.write(data)


if __name__ == "__main__":
    write_seeds(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4096)
