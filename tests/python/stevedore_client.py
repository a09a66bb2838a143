"""A client of the executable, without a BEAM: one Worker is one process, its frames, and everything it said.

Messages are lists of plain values in both codecs: tags, kinds and texts are str, bytes that are not UTF-8 are bytes,
nil is None. So tests compare `["ok", 1, "pong", [q, r, c]]` whatever came over the wire. Waiting is for events, with
one generous limit (PATIENCE): no test asserts that something is quick.

STEVEDORE names the executable, STEVEDORE_FAULT the plugin that misbehaves.
"""

import os
import queue
import struct
import subprocess
import tempfile
import threading
import unittest

import msgpack

import etf

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXECUTABLE = os.environ.get("STEVEDORE", os.path.join(ROOT, "build", "port", "stevedore"))
FAULT_PLUGIN = os.environ.get("STEVEDORE_FAULT", os.path.join(ROOT, "build", "port", "fault.so"))
VECTORS = os.path.join(ROOT, "proto", "vectors")

with open(EXECUTABLE, "rb") as program:
    symbols = program.read()
SANITIZED = b"__asan_init" in symbols or b"__tsan_init" in symbols

# An environment in which a deadly signal kills the worker, also in a build with sanitizers, which would exit instead.
SANITIZERS = ":".join(f"handle_{name}=0" for name in ("segv", "abort", "sigbus", "sigfpe", "sigill"))
SIGNALS_KILL = os.environ | {
    name: os.environ.get(name, "") + ":" + SANITIZERS for name in ("ASAN_OPTIONS", "TSAN_OPTIONS")
}
PATIENCE = float(os.environ.get("STEVEDORE_PATIENCE", "60"))
TERMINAL = ("ok", "error")


def frame(content):
    return struct.pack(">I", len(content)) + content


def plain(value):
    """The same value in the words of JSON: what both codecs and a transcript can be compared in."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(key) if isinstance(key, bytes) else key: plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, str) else value


class Etf:
    """Messages as tuples whose tag is an atom (PROTOCOL §4)."""

    name = "etf"

    @staticmethod
    def encode(message):
        return etf.encode((etf.Atom(message[0]), *message[1:]) if message else ())

    @staticmethod
    def batch(messages):
        return etf.encode([Etf.encode(message) for message in messages])


class Msgpack:
    """Messages as arrays (PROTOCOL §9.2)."""

    name = "msgpack"

    @staticmethod
    def encode(message):
        return msgpack.packb(list(message), use_bin_type=True)

    @staticmethod
    def batch(messages):
        return msgpack.packb([Msgpack.encode(message) for message in messages], use_bin_type=True)


CODECS = {codec.name: codec for codec in (Etf, Msgpack)}


def decode(content):
    """The term in a frame of either codec (PROTOCOL §2)."""
    if content[:1] == b"\x83":
        return etf.decode(content)
    return msgpack.unpackb(
        content, raw=False, strict_map_key=False, max_array_len=2**24, object_pairs_hook=map_of_any_keys
    )


def map_of_any_keys(pairs):
    """A key may be a list or a map, which Python's own dictionaries do not take."""
    return {etf.hashable(key): value for key, value in pairs}


def messages_in(content):
    """The messages in a frame, taken out of their batch if it is one (PROTOCOL §3)."""
    term = decode(content)
    if isinstance(term, list) and all(isinstance(item, bytes) for item in term):
        return [plain(decode(item)) for item in term]
    return [plain(term)]


class Worker:
    """A worker process. Leaving its `with` block ends it. What it wrote to stderr is in `stderr()` after `wait()`."""

    def __init__(self, *options, codec=Etf, plugin=False, **popen):
        self.codec = codec
        self.last_id = 0
        self.kept = []
        self.incoming = queue.Queue()
        self.contents = []  # of all frames, as they came
        self.logs = []  # what `finish` came across
        self._stderr = tempfile.TemporaryFile()
        command = [EXECUTABLE, *(("--plugin", FAULT_PLUGIN) if plugin else ()), *map(str, options)]
        popen = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._stderr, **popen}
        self.process = subprocess.Popen(command, bufsize=0, **popen)
        self.reader = None
        if self.process.stdout is not None:
            stdout = self.process.stdout.fileno()
            self.reader = threading.Thread(target=self._read, args=(stdout,), daemon=True)
            self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.reader:
            self.reader.join()
            self.process.stdout.close()
        if self.process.stdin:
            self.process.stdin.close()
        self._stderr.close()

    # --- what it says ---------------------------------------------------------------------

    def _read(self, fd):
        buffered = bytearray()
        try:
            while data := os.read(fd, 1 << 20):
                buffered += data
                self._take_frames(buffered)
            if buffered:
                raise ValueError(f"stdout ended inside a frame: {bytes(buffered[:80])!r}")
            self.incoming.put(None)
        except Exception as error:  # whatever it is, the test that waits must hear of it
            self.incoming.put(error)

    def _take_frames(self, buffered):
        start = 0
        while len(buffered) - start >= 4:
            end = start + 4 + int.from_bytes(buffered[start : start + 4], "big")
            if len(buffered) < end:
                break
            content = bytes(buffered[start + 4 : end])
            self.contents.append(content)
            for message in messages_in(content):
                self.incoming.put(message)
            start = end
        del buffered[:start]

    def receive(self):
        """The next message, or None at the end of stdout."""
        if self.kept:
            return self.kept.pop(0)
        return self._next()

    def _next(self):
        try:
            message = self.incoming.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"nothing more came; process: {self.process.poll()}") from None
        if isinstance(message, Exception):
            raise message
        return message

    def receive_where(self, wanted):
        """The first message that `wanted` is true of; those before it are kept for later."""
        for index, message in enumerate(self.kept):
            if wanted(message):
                return self.kept.pop(index)
        while True:
            message = self._next()
            if message is None:
                raise AssertionError(f"stdout ended; unasked for: {self.kept[:5]}; stderr: {self.stderr()}")
            if wanted(message):
                return message
            self.kept.append(message)

    def terminal(self, id):
        """The terminal reply of this call."""
        return self.receive_where(lambda message: message[0] in TERMINAL and message[1] == id)

    def rest(self):
        """Everything up to the end of stdout."""
        messages, self.kept = self.kept, []
        while (message := self._next()) is not None:
            messages.append(message)
        self.incoming.put(None)
        return messages

    # --- what it is told ------------------------------------------------------------------

    def send_bytes(self, data):
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def send_frame(self, content):
        self.send_bytes(frame(content))

    def send(self, *message):
        self.send_frame(self.codec.encode(message))

    def send_batch(self, messages):
        self.send_frame(self.codec.batch(messages))

    def new_id(self):
        self.last_id += 1
        return self.last_id

    def start(self, op, args=None, **options):
        """Sends a call and returns its id."""
        id = self.new_id()
        self.send("call", id, op, args, *([options] if options else []))
        return id

    def call(self, op, args=None, **options):
        """The terminal reply of a call made now."""
        return self.terminal(self.start(op, args, **options))

    def value(self, op, args=None, **options):
        """The result of a call that must succeed."""
        reply = self.call(op, args, **options)
        if reply[0] != "ok":
            raise AssertionError(f"{op} failed: {reply}")
        return reply[2]

    def wait_for_stats(self, condition):
        """Asks for `stats` until they are as wanted; that they will be is for PATIENCE to decide."""
        for _ in range(int(PATIENCE * 1000)):
            stats = self.value("stats")
            if condition(stats):
                return stats
        raise AssertionError(f"stats never became as expected: {stats}")

    # --- its end --------------------------------------------------------------------------

    def close_stdin(self):
        self.process.stdin.close()

    def wait(self):
        """Its exit code, once it ended."""
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError("the worker does not end") from None

    def finish(self):
        """Ends it in order; returns what else it said. What it logged is in `logs`: it may log at any time."""
        self.close_stdin()
        rest = self.rest()
        self.logs = [message for message in rest if message[0] == "log"]
        messages = [message for message in rest if message[0] != "log"]
        code = self.wait()
        if code != 0 or not messages or messages[-1] != ["bye", "eof"]:
            raise AssertionError(f"no orderly end: code {code}, {messages[-3:]}, {self.stderr()}")
        return messages[:-1]

    def stderr(self):
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")


class WorkerTest(unittest.TestCase):
    """What tests of a worker assert."""

    def assert_error(self, reply, kind, **details):
        """An error reply of this kind, with a message and these details."""
        self.assertEqual(reply[:1] + reply[2:3], ["error", kind], str(reply)[:1000])
        self.assertTrue(reply[3]["message"], reply)
        self.assertEqual(details, {key: reply[3].get(key) for key in details}, reply)
        self.assert_receipt(reply)

    def assert_ok(self, reply, value):
        self.assertEqual(reply[:1] + reply[2:3], ["ok", value], reply)
        self.assert_receipt(reply)

    def assert_receipt(self, reply):
        """PROTOCOL §5.1: three counts of microseconds."""
        receipt = reply[-1]
        self.assertEqual(len(receipt), 3, reply)
        for count in receipt:
            self.assertIsInstance(count, int)
            self.assertGreaterEqual(count, 0)

    def assert_never_ran(self, reply):
        """PROTOCOL §7."""
        self.assertEqual(reply[-1][1:], [0, 0], reply)

    def assert_one_terminal_each(self, messages, ids):
        """PROTOCOL §4.1: exactly one terminal reply for each call, and none for anything else."""
        answered = sorted(message[1] for message in messages if message[0] in TERMINAL)
        self.assertEqual(answered, sorted(ids))

    def assert_says_why(self, worker, told=True):
        """PROTOCOL §5.4: a worker that cannot start says why on stderr and, unless it is a wrong command line, as a message."""
        self.assert_one_line(worker.stderr())
        line = worker.stderr().removeprefix("stevedore: ").rstrip("\n")
        self.assertEqual(worker.rest(), [["log", "error", line]] if told else [])

    def assert_one_line(self, text):
        """PROTOCOL §8: one line on stderr."""
        self.assertTrue(text.endswith("\n"), text)
        self.assertEqual(text.count("\n"), 1, text)
