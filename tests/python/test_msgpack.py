"""Real work over MessagePack: what a program without a BEAM would do (PROTOCOL §2, §9.2)."""

import hashlib
import os
import tempfile
import unittest
import zlib

import msgpack

from stevedore_client import Etf, Msgpack, Worker, WorkerTest, decode


class Values(WorkerTest):
    """What goes through `echo` comes back as it was."""

    def test_scalars(self):
        with Worker(codec=Msgpack) as worker:
            integers = (0, -1, 127, 128, -32, -33, 2**31, -(2**63), 2**64 - 1)
            for value in (None, True, False, *integers, 1.5, -0.0, 1e308, "", "é漢🚢"):
                self.assertEqual(worker.value("echo", value), value)
                self.assertIs(type(worker.value("echo", value)), type(value))

    def test_containers(self):
        deep = {"list": [1, [2, [3, []]]], "map": {"a": {"b": {}}}}
        value = {**deep, "wide": list(range(1000)), "many": {str(i): i for i in range(1000)}}
        with Worker(codec=Msgpack) as worker:
            self.assertEqual(worker.value("echo", value), value)

    def test_keys_of_every_type(self):
        value = {1: "int", "1": "str", -1.5: "float", None: "nil", False: "bool"}
        with Worker(codec=Msgpack) as worker:
            self.assertEqual(worker.value("echo", value), value)

    def test_large_binaries(self):
        data = os.urandom(5_000_000)
        with Worker(codec=Msgpack) as worker:
            self.assertEqual(worker.value("echo", data), data)


class Bytes(WorkerTest):
    """What only the bytes of a frame tell."""

    def contents_of(self, send):
        """The contents of the frames that a worker wrote, but its bye."""
        with Worker("--threads", 2, codec=Msgpack) as worker:
            send(worker)
            worker.finish()
            return worker.contents[:-1]

    def test_str_stays_str_and_bin_stays_bin(self):
        [content] = self.contents_of(lambda worker: worker.start("echo", ["text", b"text"]))
        self.assertEqual(msgpack.unpackb(content)[2], ["text", b"text"])

    def test_each_reply_comes_in_the_codec_of_its_request(self):
        def send(worker):
            for id in range(1, 201):
                worker.codec = Msgpack if id % 3 else Etf
                worker.send("call", id, "sleep", {"ms": 0})

        contents = self.contents_of(send)
        self.assertEqual(len(contents), 200)
        for content in contents:
            is_etf = content[:1] == b"\x83"
            self.assertEqual(is_etf, decode(content)[1] % 3 == 0)


class Work(WorkerTest):
    DATA = os.urandom(300_000)

    def test_digest_of_bytes(self):
        with Worker(codec=Msgpack) as worker:
            digest = worker.value("digest", {"algorithm": "sha256", "data": self.DATA})
            self.assertEqual(digest, hashlib.sha256(self.DATA).hexdigest())

    def test_digest_of_a_file(self):
        with tempfile.NamedTemporaryFile() as file, Worker(codec=Msgpack) as worker:
            file.write(self.DATA)
            file.flush()
            digest = worker.value("digest", {"algorithm": "crc32", "path": file.name})
            self.assertEqual(int(digest, 16), zlib.crc32(self.DATA))

    def test_many_jobs_at_once(self):
        with Worker("--threads", 4, codec=Msgpack) as worker:
            pieces = [self.DATA[i : i + 1000] for i in range(0, len(self.DATA), 1000)]
            ids = {worker.start("digest", {"algorithm": "sha512", "data": piece}): piece for piece in pieces}
            replies = worker.finish()
            self.assert_one_terminal_each(replies, ids)
            for reply in replies:
                self.assert_ok(reply, hashlib.sha512(ids[reply[1]]).hexdigest())

    def test_a_bin_as_a_text_argument_is_as_good_as_a_str(self):
        with Worker(codec=Msgpack) as worker:
            digest = worker.value("digest", {"algorithm": b"sha256", "data": ""})
            self.assertEqual(digest, hashlib.sha256().hexdigest())

    def test_hello(self):
        with Worker(codec=Msgpack) as worker:
            hello = worker.value("hello")
            self.assertEqual(hello["protocol"], 1)
            self.assertEqual(hello["os_pid"], worker.process.pid)
            self.assertIn("echo", [op["name"] for op in hello["ops"]])


if __name__ == "__main__":
    unittest.main()
