"""A minimal External Term Format, independent of the code under test: enough to talk to a worker, strict about what
comes back.

Python to ETF: None, True and False are the atoms nil, true and false; str and bytes are binaries; list, tuple, dict,
int and float are themselves. Atom("x") is an atom, Bits((data, n)) a bitstring. From ETF: binaries are bytes, atoms
Atom (but nil, true, false).
"""

import struct


class Atom(str):
    """An atom; equal to the str of its name."""


class Bits(tuple):
    """A bitstring: (bytes, used bits of the last one)."""


CONSTANTS = {None: "nil", True: "true", False: "false"}
VALUES = {name: value for value, name in CONSTANTS.items()}


def encode(term):
    return b"\x83" + encode_term(term)


def encode_term(term):
    if term is None or term is True or term is False:
        return encode_atom(CONSTANTS[term])
    if isinstance(term, Atom):
        return encode_atom(term)
    if isinstance(term, Bits):
        data, bits = term
        return struct.pack(">BIB", 77, len(data), bits) + data
    return ENCODERS[type(term)](term)


def encode_atom(name):
    data = name.encode()
    header = struct.pack(">BB", 119, len(data)) if len(data) < 256 else struct.pack(">BH", 118, len(data))
    return header + data


def encode_integer(value):
    if 0 <= value <= 255:
        return bytes([97, value])
    if -(2**31) <= value < 2**31:
        return struct.pack(">Bi", 98, value)
    magnitude = abs(value).to_bytes((value.bit_length() + 7) // 8, "little")
    size = len(magnitude)
    header = struct.pack(">BB", 110, size) if size < 256 else struct.pack(">BI", 111, size)
    return header + bytes([value < 0]) + magnitude


def encode_binary(data):
    return struct.pack(">BI", 109, len(data)) + data


def encode_list(items):
    if not items:
        return b"\x6a"
    return struct.pack(">BI", 108, len(items)) + b"".join(map(encode_term, items)) + b"\x6a"


def encode_tuple(items):
    header = bytes([104, len(items)]) if len(items) < 256 else struct.pack(">BI", 105, len(items))
    return header + b"".join(map(encode_term, items))


def encode_map(pairs):
    encoded = b"".join(encode_term(key) + encode_term(value) for key, value in pairs.items())
    return struct.pack(">BI", 116, len(pairs)) + encoded


ENCODERS = {
    int: encode_integer,
    float: lambda value: struct.pack(">Bd", 70, value),
    bytes: encode_binary,
    bytearray: encode_binary,
    str: lambda text: encode_binary(text.encode()),
    list: encode_list,
    tuple: encode_tuple,
    dict: encode_map,
}


def decode(data):
    """The one term in `data`; ValueError if it is anything else."""
    if data[:1] != b"\x83":
        raise ValueError("no version byte")
    reader = Reader(data, 1)
    term = reader.term()
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes after the term")
    return term


class Reader:
    def __init__(self, data, at):
        self.data = data
        self.at = at

    def take(self, size):
        if self.at + size > len(self.data):
            raise ValueError("the term goes past the end")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def terms(self, count):
        return [self.term() for _ in range(count)]

    def term(self):
        tag = self.number(1)
        decoder = DECODERS.get(tag)
        if decoder is None:
            raise ValueError(f"a worker never sends tag {tag}")
        return decoder(self)


def decode_atom(data):
    name = data.decode()
    return VALUES[name] if name in VALUES else Atom(name)


def decode_big(reader, size):
    negative = reader.number(1)
    magnitude = int.from_bytes(reader.take(size), "little")
    return -magnitude if negative else magnitude


def decode_bits(reader):
    size, bits = reader.number(4), reader.number(1)
    return Bits((reader.take(size), bits))


def decode_list(reader):
    items = reader.terms(reader.number(4))
    tail = reader.term()
    if not isinstance(tail, list):
        return (Atom("improper"), items, tail)
    return items + tail


def decode_map(reader):
    pairs = [(hashable(reader.term()), reader.term()) for _ in range(reader.number(4))]
    if len(dict(pairs)) != len(pairs) and not any(isinstance(key, float) for key, _ in pairs):
        raise ValueError("a map has a key twice")
    return dict(pairs)


def hashable(term):
    if isinstance(term, list):
        return tuple(map(hashable, term))
    return tuple((key, hashable(value)) for key, value in term.items()) if isinstance(term, dict) else term


# What a worker may send (PROTOCOL §5, §9). The byte after a length is read before the bytes.
DECODERS = {
    97: lambda r: r.number(1),
    98: lambda r: struct.unpack(">i", r.take(4))[0],
    110: lambda r: decode_big(r, r.number(1)),
    111: lambda r: decode_big(r, r.number(4)),
    70: lambda r: struct.unpack(">d", r.take(8))[0],
    119: lambda r: decode_atom(r.take(r.number(1))),
    118: lambda r: decode_atom(r.take(r.number(2))),
    109: lambda r: r.take(r.number(4)),
    77: decode_bits,
    104: lambda r: tuple(r.terms(r.number(1))),
    105: lambda r: tuple(r.terms(r.number(4))),
    106: lambda r: [],
    107: lambda r: list(r.take(r.number(2))),
    108: decode_list,
    116: decode_map,
}
