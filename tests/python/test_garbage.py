"""Hundreds of thousands of damaged and made-up frames: a worker answers `bad_request`, or ends with 65 and one line on
stderr (PROTOCOL §8); it never crashes, hangs or says something that cannot be decoded. And where the stream was not
broken, it still works.

SEED repeats a run, GARBAGE scales the amount (1 is the default).
"""

import os
import random
import time
import unittest

import etf
import vectors
from stevedore_client import TERMINAL, Etf, Msgpack, Worker, WorkerTest, frame

SEED = int(os.environ.get("SEED", time.time()))
GARBAGE = float(os.environ.get("GARBAGE", "1"))
LAST_ID = 1_234_567_891  # no number that the garbage is made of
LARGEST_SEED = 600
PIECE = 16384


def seeds():
    """The contents of frames to damage. None is a `stop`, after which a worker rightly says nothing more."""
    every = vectors.read_all("valid") + vectors.read_all("invalid")
    small = [vector.data for vector in every if not vector.is_frames and len(vector.data) <= LARGEST_SEED]
    return [data for data in small if b"stop" not in data]


class Damage:
    """Seeded mutations of frame contents."""

    INTERESTING = bytes([0, 1, 2, 7, 8, 9, 31, 32, 127, 128, 255, *b"MFabhijklmnotvwz", 131, 0x90, 0xC1, 0xDF])

    def __init__(self, chance, contents):
        self.chance = chance
        self.contents = contents
        self.ways = [self.flip, self.flip, self.set, self.set, self.cut, self.insert, self.splice, self.repeat]

    def content(self):
        data = bytearray(self.chance.choice(self.contents))
        for _ in range(self.chance.choice((1, 1, 1, 2, 3, 8))):
            self.chance.choice(self.ways)(data)
        return bytes(data) or b"\0"

    def place(self, data):
        return self.chance.randrange(len(data)) if data else 0

    def flip(self, data):
        if data:
            data[self.place(data)] ^= 1 << self.chance.randrange(8)

    def set(self, data):
        if data:
            data[self.place(data)] = self.chance.choice(self.INTERESTING)

    def cut(self, data):
        del data[self.place(data) :]

    def insert(self, data):
        at = self.place(data)
        data[at:at] = self.chance.randbytes(self.chance.choice((1, 2, 4)))

    def splice(self, data):
        other = self.chance.choice(self.contents)
        data[self.place(data) :] = other[self.place(other) :]

    def repeat(self, data):
        at = self.place(data)
        data[at:at] = data[at : at + self.chance.randrange(1, 9)] * self.chance.choice((1, 2, 50))


class WellFormed:
    """Terms that are framed and encoded as they should be, but mostly no messages: they never break the stream."""

    WORDS = ("call", "cancel", "ok", "error", "echo", "timeout", "priority", "kill_after", "progress", "queue_timeout", "", "é")

    def __init__(self, chance):
        self.chance = chance
        self.leaves = [
            lambda: self.chance.choice(self.WORDS),
            lambda: self.chance.choice((-1, 0, 1, 255, 256, 2**31 - 1, 2**31, 2**32, 2**63 - 1)),
            lambda: self.chance.random(),
            lambda: self.chance.choice((None, True, False)),
            lambda: self.chance.randbytes(self.chance.randrange(9)),
        ]
        self.nodes = [
            lambda depth: [self.term(depth) for _ in range(self.chance.randrange(4))],
            lambda depth: {self.term(0): self.term(depth) for _ in range(self.chance.randrange(4))},
        ]

    def term(self, depth):
        if depth == 0 or self.chance.random() < 0.5:
            return self.chance.choice(self.leaves)()
        return self.chance.choice(self.nodes)(depth - 1)

    def message(self):
        """Often so near to a call that only one thing is wrong."""
        tag = self.chance.choice(("call", "call", "cancel", "launch"))
        fields = [tag, self.chance.randrange(1000), "echo", self.term(3), {}]
        for _ in range(self.chance.randrange(3)):
            fields[self.chance.randrange(5)] = self.term(2)
        return fields[: self.chance.choice((1, 2, 3, 4, 4, 5))]

    def content(self):
        message = self.message()
        if self.chance.random() < 0.5 and isinstance(message[0], str):
            return Etf.encode(message)
        if self.is_batch(message) or self.chance.random() < 0.5:
            return etf.encode(tuple(message))
        return Msgpack.encode(message)

    def is_batch(self, message):
        """In MessagePack this would be a batch, and one that breaks the stream."""
        return all(isinstance(field, bytes) for field in message)


class Garbage(WorkerTest):
    def setUp(self):
        print(f"SEED={SEED} ", end="", flush=True)
        self.chance = random.Random(SEED)

    def feed(self, contents, may_break):
        """One worker, these frames, and a good call at the end."""
        data = b"".join(map(frame, contents)) + frame(Etf.encode(("call", LAST_ID, "ping", None)))
        with Worker("--threads", 2, "--max-frame", 100_000) as worker:
            self.write_what_it_takes(worker, data)
            messages = worker.rest()
            code = worker.wait()
            self.check_messages(messages)
            if code == 65 and may_break:
                self.assert_one_line(worker.stderr())
                return False
            self.assertEqual((code, worker.stderr()), (0, ""))
            self.assertEqual(messages[-1], ["bye", "eof"])
            self.assertIn("pong", [message[2] for message in messages if message[:2] == ["ok", LAST_ID]])
            return True

    def write_what_it_takes(self, worker, data):
        """A worker that found its stream broken does not read on."""
        try:
            for at in range(0, len(data), PIECE):
                worker.send_bytes(data[at : at + PIECE])
            worker.close_stdin()
        except BrokenPipeError:
            pass

    def check_messages(self, messages):
        """All that it said was decoded, strictly, by the client already."""
        for message in messages:
            self.assertIn(message[0], (*TERMINAL, "progress", "log", "bye"))
            if message[0] in TERMINAL:
                self.assert_receipt(message)

    def test_damaged_messages(self):
        damage = Damage(self.chance, seeds())
        rounds = range(int(800 * GARBAGE))
        outcomes = [self.feed([damage.content() for _ in range(100)], may_break=True) for _ in rounds]
        self.assertIn(False, outcomes)

    def test_damaged_messages_one_by_one(self):
        """Each with a worker that has seen nothing else wrong."""
        damage = Damage(self.chance, seeds())
        outcomes = {self.feed([damage.content()], may_break=True) for _ in range(int(500 * GARBAGE))}
        self.assertEqual(outcomes, {True, False})

    def test_well_formed_nonsense(self):
        """Never breaks the stream, however much of it there is."""
        nonsense = WellFormed(self.chance)
        for _ in range(int(20 * GARBAGE) or 1):
            self.feed([nonsense.content() for _ in range(10_000)], may_break=False)

    def test_random_bytes(self):
        for _ in range(int(200 * GARBAGE)):
            with Worker() as worker:
                size = self.chance.choice((1, 3, 4, 5, 100, 100_000))
                self.write_what_it_takes(worker, self.chance.randbytes(size))
                messages = worker.rest()
                self.check_messages(messages)
                self.assertEqual(worker.wait(), 65)
                self.assert_one_line(worker.stderr())

    def test_random_contents_in_good_frames(self):
        first = [0x83, 0x90, 0x94, 0xDC, 0xDD]

        def content():
            return bytes([self.chance.choice(first)]) + self.chance.randbytes(self.chance.randrange(200))

        for _ in range(int(300 * GARBAGE)):
            self.feed([content() for _ in range(50)], may_break=True)


if __name__ == "__main__":
    unittest.main()
