"""The built-in ops: echo, sleep, digest, zstd.compress and zstd.decompress."""

import ctypes
import ctypes.util
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import unittest
import zlib

from stevedore_client import Msgpack, Worker, WorkerTest, decode

CHUNK = 256 * 1024  # what source.c reads at a time
ENDLESS = 1 << 40  # the size of a sparse file that nothing gets to the end of
SIZES = [0, 1, 3, 16, 17, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 240, 241, 255, 256, 257]
SIZES += [1023, 1024, 1025, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 77]


def as_bytes(value):
    """What the client made text of, because it happened to be valid UTF-8, as the bytes it was."""
    return value.encode() if isinstance(value, str) else value


def sample(size, seed=1):
    """Bytes that are neither constant nor random: they compress, but not to nothing."""
    pick = random.Random(seed)
    words = [pick.randbytes(pick.randrange(1, 40)) for _ in range(200)]
    text = bytearray()
    while len(text) < size:
        text += pick.choice(words)
    return bytes(text[:size])


class OpTest(WorkerTest):
    """One worker for all tests of a class, and a directory of its own for each."""

    @classmethod
    def setUpClass(cls):
        cls.worker = cls.enterClassContext(Worker("--threads", 2))

    def setUp(self):
        self.directory = self.enterContext(tempfile.TemporaryDirectory())

    def path(self, name):
        return os.path.join(self.directory, name)

    def file(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def endless_file(self):
        path = self.file("endless", b"")
        os.truncate(path, ENDLESS)
        return path

    def bytes_of(self, op, args):
        return as_bytes(self.worker.value(op, args))

    def assert_bad_arg(self, op, args, arg):
        self.assert_error(self.worker.call(op, args), "bad_args", arg=arg)

    def assert_failed(self, reply, code):
        self.assert_error(reply, "failed", code=code)

    def stop_in_the_middle(self, op, args):
        """Cancels a call once it told that it got somewhere; returns the terminal reply."""
        id = self.worker.start(op, args, progress=1)
        self.worker.receive_where(lambda it: it[:2] == ["progress", id] and it[2] > 0)
        self.in_the_middle()
        self.worker.send("cancel", id)
        return self.worker.terminal(id)

    def in_the_middle(self):
        """For a test that wants to look around there."""


class Echo(OpTest):
    TERMS = [None, True, 0, -1, 2**62, 1.5, "text", b"\xff\x00", [], [1, [2, [3]]], {}, {"a": {"b": [1.0]}}]

    def test_replies_its_arguments_etf(self):
        for term in self.TERMS + [2**200, -(2**200)]:
            self.assertEqual(self.worker.value("echo", term), term)

    def test_replies_its_arguments_msgpack(self):
        with Worker(codec=Msgpack) as worker:
            for term in self.TERMS:
                self.assertEqual(worker.value("echo", term), term)

    def test_large(self):
        data = random.Random(2).randbytes(5_000_000)
        self.assertEqual(self.worker.value("echo", [data, data]), [data, data])


class Sleep(OpTest):
    def test_replies_nil_not_before_its_time(self):
        reply = self.worker.call("sleep", {"ms": 30})
        self.assert_ok(reply, None)
        self.assertGreaterEqual(reply[3][1], 30_000)

    def test_zero(self):
        self.assert_ok(self.worker.call("sleep", {"ms": 0}), None)

    def test_progress_ends_with_all_of_it(self):
        id = self.worker.start("sleep", {"ms": 60}, progress=1)
        seen = []
        while (message := self.worker.receive())[0] == "progress":
            seen.append(message[2:])
        self.assert_ok(message, None)
        self.assertEqual(message[1], id)
        self.assertEqual(seen[-1], [60, 60])
        self.assertEqual(seen, sorted(seen))

    def test_stops_when_cancelled(self):
        id = self.worker.start("sleep", {"ms": 86_400_000})
        self.worker.wait_for_stats(lambda stats: any(job["id"] == id for job in stats["jobs"]))
        self.worker.send("cancel", id)
        self.assert_error(self.worker.terminal(id), "cancelled")

    def test_stops_at_its_timeout(self):
        self.assert_error(self.worker.call("sleep", {"ms": 86_400_000}, timeout=5), "timed_out", limit_ms=5)

    def test_refuses(self):
        for ms in (-1, 86_400_001, 2**70, 1.5, "10", None):
            self.assert_bad_arg("sleep", {"ms": ms}, "ms")
        for args in ({}, None, [], "ms", {"MS": 1}):
            self.assert_bad_arg("sleep", args, "ms")


def xxhash_library():
    name = ctypes.util.find_library("xxhash")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library


class Digest(OpTest):
    REFERENCES = {
        "sha256": lambda data: hashlib.sha256(data).digest(),
        "sha512": lambda data: hashlib.sha512(data).digest(),
        "blake2b": lambda data: hashlib.blake2b(data).digest(),
        "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    }
    if xxhash_library():
        REFERENCES["xxh3"] = lambda data: xxhash_library().XXH3_64bits(data, len(data)).to_bytes(8, "big")

    def test_known_answers(self):
        for algorithm, data, expected in [
            ("sha256", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ("sha512", "", "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
                           "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"),
            ("blake2b", "abc", "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
                               "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"),
            ("crc32", "123456789", "cbf43926"),
            ("crc32", "", "00000000"),
            ("xxh3", "", "2d06800538d394c2"),
            ("xxh3", "a", "e6c632b61e964e1f"),
        ]:
            with self.subTest(algorithm=algorithm, data=data):
                args = {"algorithm": algorithm, "data": data}
                self.assertEqual(self.worker.value("digest", args), expected)

    def test_data_and_file_around_every_border(self):
        for size in SIZES:
            data = sample(size, size)
            path = self.file("input", data)
            for algorithm, reference in self.REFERENCES.items():
                with self.subTest(algorithm=algorithm, size=size):
                    for source in ({"data": data}, {"path": path}):
                        args = {"algorithm": algorithm, "encoding": "raw", **source}
                        self.assertEqual(self.bytes_of("digest", args), reference(data))

    def test_large_file(self):
        data = sample(9_000_001)
        args = {"algorithm": "sha256", "path": self.file("large", data)}
        self.assertEqual(self.worker.value("digest", args), hashlib.sha256(data).hexdigest())

    def test_file_that_claims_to_be_empty(self):
        path = "/proc/version"
        with open(path, "rb") as file:
            expected = hashlib.sha256(file.read()).hexdigest()
        self.assertEqual(os.stat(path).st_size, 0)
        self.assertEqual(self.worker.value("digest", {"algorithm": "sha256", "path": path}), expected)

    def test_path_that_is_no_utf8(self):
        path = os.fsencode(self.directory) + b"/\xff\xfe"
        with open(path, "wb") as file:
            file.write(b"abc")
        self.assertEqual(self.worker.value("digest", {"algorithm": "crc32", "path": path}), "352441c2")
        missing = {"algorithm": "crc32", "path": path + b"\xfd"}
        self.assert_failed(self.worker.call("digest", missing), "enoent")

    def test_hex_is_text_and_raw_is_bytes(self):
        """PROTOCOL §9.2: str and bin."""
        with Worker(codec=Msgpack) as worker:
            frames = []
            take = worker._take_frames
            worker._take_frames = lambda buffered: (frames.append(bytes(buffered[4:])), take(buffered))
            for encoding, type_ in (("hex", str), ("raw", bytes)):
                worker.value("digest", {"algorithm": "crc32", "data": "abc", "encoding": encoding})
                self.assertIs(type(decode(frames[-1])[2]), type_)

    def test_many_at_once(self):
        datas = [sample(size, size) for size in range(1000, 1200)]
        for algorithm, reference in self.REFERENCES.items():
            args = {"algorithm": algorithm, "encoding": "raw"}
            ids = [self.worker.start("digest", {**args, "data": data}) for data in datas]
            got = [as_bytes(self.worker.terminal(id)[2]) for id in ids]
            self.assertEqual(got, [reference(data) for data in datas])

    def test_progress_is_in_bytes_and_ends_with_all(self):
        data = sample(3 * CHUNK)
        for source in ({"data": data}, {"path": self.file("input", data)}):
            id = self.worker.start("digest", {"algorithm": "sha256", **source}, progress=1)
            seen = []
            while (message := self.worker.receive())[0] == "progress":
                seen.append(message[2:])
            self.assert_ok(message, hashlib.sha256(data).hexdigest())
            self.assertEqual(message[1], id)
            self.assertEqual(seen[-1], [3 * CHUNK, 3 * CHUNK])

    def test_cancelled_in_the_middle(self):
        for algorithm in (*self.REFERENCES, "xxh3"):
            args = {"algorithm": algorithm, "path": self.endless_file()}
            self.assert_error(self.stop_in_the_middle("digest", args), "cancelled")

    def test_timed_out_in_the_middle(self):
        args = {"algorithm": "sha256", "path": self.endless_file()}
        self.assert_error(self.worker.call("digest", args, timeout=20), "timed_out", limit_ms=20)

    def test_says_what_it_got(self):
        for op, args, got in [
            ("sleep", {"ms": -1}, "got -1"),
            ("sleep", {"ms": "1"}, "got a binary"),
            ("sleep", {}, "got nothing"),
            ("sleep", [1], "but the arguments are a list, not a map"),
            ("sleep", None, "but the arguments are nil, not a map"),
            ("digest", {"path": self.directory}, "not of a directory"),
        ]:
            with self.subTest(op=op, args=args):
                self.assertIn(got, self.worker.call(op, args)[3]["message"])

    def test_refuses_what_is_no_regular_file(self):
        os.mkfifo(self.path("fifo"))
        for path in (self.path("fifo"), "/dev/zero", self.directory):
            self.assert_bad_arg("digest", {"algorithm": "sha256", "path": path}, "path")

    def test_file_that_is_not_there(self):
        reply = self.worker.call("digest", {"algorithm": "sha256", "path": self.path("nothing")})
        self.assert_failed(reply, "enoent")
        self.assertIn(self.path("nothing"), reply[3]["message"])

    def test_refuses(self):
        for arg, args in [
            ("algorithm", {"data": "x", "algorithm": "md5"}),
            ("algorithm", {"data": "x", "algorithm": 256}),
            ("data", {"algorithm": "sha256"}),
            ("data", {"algorithm": "sha256", "data": 1}),
            ("data", {"algorithm": "sha256", "data": None, "path": None}),
            ("path", {"algorithm": "sha256", "path": 1}),
            ("path", {"algorithm": "sha256", "path": "a\0b"}),
            ("path", {"algorithm": "sha256", "path": "x", "data": "x"}),
            ("path", {"algorithm": "sha256", "path": "x", "data": ""}),
            ("encoding", {"algorithm": "sha256", "data": "x", "encoding": "base64"}),
            ("encoding", {"algorithm": "sha256", "data": "x", "encoding": 16}),
            ("data", []),
        ]:
            with self.subTest(args=args):
                self.assert_bad_arg("digest", args, arg)

    def test_sha256_is_the_default(self):
        self.assertEqual(self.worker.value("digest", {"data": "abc"}), hashlib.sha256(b"abc").hexdigest())

    def test_data_that_says_nil_is_data(self):
        args = {"algorithm": "crc32", "data": "nil"}
        self.assertEqual(self.worker.value("digest", args), f"{zlib.crc32(b'nil'):08x}")


# A window of 2 MiB, and one raw block of 0 bytes that is the last.
EMPTY_FRAME = bytes.fromhex("28b52ffd" "0058" "010000")
SKIPPABLE_FRAME = bytes.fromhex("502a4d18" "03000000" "616263")
WINDOW_OF_2_GIB = bytes.fromhex("28b52ffd" "00a8" "010000")


class Zstd(OpTest):
    def compress(self, data, **options):
        return self.bytes_of("zstd.compress", {"data": data, **options})

    def decompress(self, data, **options):
        return self.worker.call("zstd.decompress", {"data": data, **options})

    def assert_decompresses(self, frames, data, **options):
        reply = self.decompress(frames, **options)
        self.assertEqual(reply[0], "ok", reply)
        result = as_bytes(reply[2])
        self.assertTrue(result == data, f"{len(result)} other bytes than the {len(data)} expected")

    def assert_too_large(self, reply, limit):
        self.assert_error(reply, "too_large", limit=limit)

    def assert_files(self, *names):
        self.assertEqual(sorted(os.listdir(self.directory)), sorted(names))


class ZstdBytes(Zstd):
    def test_round_trips(self):
        for size in SIZES + [1 << 20, 5_000_001]:
            with self.subTest(size=size):
                data = sample(size, size)
                self.assert_decompresses(self.compress(data), data)

    def test_every_level(self):
        data = sample(300_000)
        for level in range(1, 20):
            self.assert_decompresses(self.compress(data, level=level), data)

    def test_compresses(self):
        data = sample(1_000_000)
        self.assertLess(len(self.compress(data)), len(data) // 2)
        self.assertLess(len(self.compress(data, level=19)), len(self.compress(data, level=1)))

    def test_incompressible(self):
        data = random.Random(3).randbytes(3_000_000)
        self.assert_decompresses(self.compress(data), data)

    @unittest.skipUnless(shutil.which("zstd"), "needs the zstd command")
    def test_understands_the_command_and_is_understood(self):
        data = sample(700_000)
        theirs = subprocess.run(["zstd", "-c", "-9"], input=data, stdout=subprocess.PIPE, check=True).stdout
        self.assert_decompresses(theirs, data)
        ours = self.compress(data)
        back = subprocess.run(["zstd", "-dc"], input=ours, stdout=subprocess.PIPE, check=True).stdout
        self.assertEqual(back, data)

    def test_several_frames(self):
        parts = [sample(size, size) for size in (1, CHUNK, 0, 100_000)]
        frames = b"".join(map(self.compress, parts))
        self.assert_decompresses(frames, b"".join(parts))
        self.assert_decompresses(SKIPPABLE_FRAME + frames + SKIPPABLE_FRAME, b"".join(parts))

    def test_no_bytes_in_a_frame(self):
        self.assert_decompresses(EMPTY_FRAME, b"")

    def test_truncated_anywhere(self):
        frame = self.compress(sample(500))
        for size in range(len(frame)):
            with self.subTest(size=size):
                self.assert_failed(self.decompress(frame[:size]), "truncated")

    def test_truncated_second_frame(self):
        frame = self.compress(sample(500))
        self.assert_failed(self.decompress(frame + frame[:20]), "truncated")

    def test_corrupt(self):
        frame = self.compress(sample(100_000))
        for at in (0, 3, len(frame) // 2, len(frame) - 1):
            damaged = bytearray(frame)
            damaged[at] ^= 0x10
            with self.subTest(at=at):
                self.assert_failed(self.decompress(bytes(damaged)), "corrupt")

    def test_trailing_garbage_is_corrupt(self):
        frame = self.compress("abc")
        for garbage in (b"x", b"\0", b"xyz", b"\0\0\0\0", sample(1000)):
            with self.subTest(garbage=garbage[:4]):
                self.assert_failed(self.decompress(frame + garbage), "corrupt")

    def test_no_zstd_at_all_is_corrupt(self):
        for data in (b"x", b"PK\x03\x04", sample(1000)):
            self.assert_failed(self.decompress(data), "corrupt")

    def test_window_that_takes_too_much_memory_is_unsupported(self):
        self.assert_failed(self.decompress(WINDOW_OF_2_GIB), "unsupported")

    def test_limit_to_the_byte(self):
        data = sample(300_000)
        frame = self.compress(data)
        self.assert_decompresses(frame, data, limit=300_000)
        self.assert_too_large(self.decompress(frame, limit=299_999), 299_999)
        self.assert_too_large(self.decompress(frame, limit=0), 0)
        self.assert_decompresses(self.compress(""), b"", limit=0)

    def test_limit_is_for_the_sum_of_frames(self):
        """Each of them announces less."""
        data = sample(200_000)
        frame = self.compress(data)
        self.assert_decompresses(frame + frame, data + data, limit=400_000)
        self.assert_too_large(self.decompress(frame + frame, limit=399_999), 399_999)

    def test_bomb(self):
        """The largest reply bounds what comes out, whatever limit was asked for."""
        path = self.file("zeros", b"")
        os.truncate(path, 1 << 30)
        self.worker.value("zstd.compress", {"path": path, "to": self.path("bomb")})
        bomb = self.read("bomb")
        self.assertLess(len(bomb), 200_000)
        for options in ({}, {"limit": 1 << 50}):
            reply = self.decompress(bomb, **options)
            self.assert_error(reply, "too_large")
            self.assertLessEqual(reply[3]["limit"], 64 << 20)

    def test_largest_reply(self):
        with Worker("--max-frame", 65536) as worker:
            reply = worker.call("zstd.decompress", {"data": self.compress(bytes(65536))})
            self.assert_error(reply, "too_large")
            fits = reply[3]["limit"]
            self.assertGreater(fits, 65536 - 256)
            self.assertEqual(len(worker.value("zstd.decompress", {"data": self.compress(bytes(fits))})), fits)
            reply = worker.call("zstd.decompress", {"data": self.compress(bytes(fits + 1))})
            self.assert_too_large(reply, fits)

    def test_incompressible_that_does_not_fit_the_reply(self):
        with Worker("--max-frame", 65536) as worker:
            path = self.file("random", random.Random(4).randbytes(80_000))
            result = worker.value("zstd.compress", {"path": path, "to": self.path("to")})
            self.assertEqual(result["bytes_in"], 80_000)
            data = random.Random(4).randbytes(65_450)
            self.assert_error(worker.call("zstd.compress", {"data": data}), "too_large")

    def test_cancelled_in_the_middle(self):
        data = random.Random(5).randbytes(60_000_000)
        reply = self.stop_in_the_middle("zstd.compress", {"data": data, "level": 19})
        self.assert_error(reply, "cancelled")

    def test_refuses(self):
        for arg, args in [
            ("level", {"data": "x", "level": 0}),
            ("level", {"data": "x", "level": 20}),
            ("level", {"data": "x", "level": "3"}),
            ("data", {}),
            ("data", {"data": 1}),
            ("path", {"data": "x", "path": "x"}),
            ("to", {"data": "x", "to": self.path("x")}),
            ("to", {"path": self.file("x", b"x")}),
            ("to", {"path": self.path("x"), "to": 1}),
        ]:
            with self.subTest(args=args):
                self.assert_bad_arg("zstd.compress", args, arg)
        for limit in (-1, -2, "1", 1.0, 2**80):
            self.assert_bad_arg("zstd.decompress", {"data": EMPTY_FRAME, "limit": limit}, "limit")


class ZstdFiles(Zstd):
    def compress_file(self, name, to, **options):
        return self.worker.call("zstd.compress", {"path": self.path(name), "to": self.path(to), **options})

    def decompress_file(self, name, to, **options):
        return self.worker.call("zstd.decompress", {"path": self.path(name), "to": self.path(to), **options})

    def test_round_trips(self):
        for size in (0, 1, CHUNK, 2 * CHUNK + 1, 3_000_000):
            with self.subTest(size=size):
                data = sample(size, size)
                self.file("in", data)
                reply = self.compress_file("in", "packed", level=5)
                packed = os.path.getsize(self.path("packed"))
                self.assert_ok(reply, {"bytes_in": size, "bytes_out": packed})
                self.assert_ok(self.decompress_file("packed", "out"), {"bytes_in": packed, "bytes_out": size})
                self.assertEqual(self.read("out"), data)
                self.assert_files("in", "packed", "out")

    def test_bytes_and_files_are_the_same(self):
        data = sample(400_000)
        self.file("in", data)
        self.compress_file("in", "packed")
        self.assertEqual(self.read("packed"), self.compress(data))

    def test_file_that_claims_to_be_empty(self):
        with open("/proc/version", "rb") as file:
            expected = file.read()
        self.worker.value("zstd.compress", {"path": "/proc/version", "to": self.path("packed")})
        self.assert_decompresses(self.read("packed"), expected)

    def test_replaces_a_file_and_even_its_own_source(self):
        data = sample(50_000)
        self.file("in", data)
        self.file("to", b"old")
        self.assertEqual(self.compress_file("in", "to")[0], "ok")
        self.assert_decompresses(self.read("to"), data)
        self.assertEqual(self.decompress_file("to", "to")[0], "ok")
        self.assertEqual(self.read("to"), data)
        self.assert_files("in", "to")

    def test_replaces_a_symbolic_link_and_not_what_it_points_to(self):
        self.file("in", b"new")
        self.file("elsewhere", b"old")
        os.symlink(self.path("elsewhere"), self.path("to"))
        self.assertEqual(self.compress_file("in", "to")[0], "ok")
        self.assertEqual(self.read("elsewhere"), b"old")
        self.assertFalse(os.path.islink(self.path("to")))

    def test_nobody_may_read_more_than_before(self):
        self.file("in", b"secret")
        os.chmod(self.path("in"), 0o600)
        self.compress_file("in", "to")
        self.assertEqual(os.stat(self.path("to")).st_mode & 0o777, 0o600)

    def test_relative_path(self):
        with Worker(cwd=self.directory) as worker:
            self.file("in", b"abc")
            worker.value("zstd.compress", {"path": "in", "to": "to"})
        self.assert_files("in", "to")

    def test_nothing_is_left_of_a_failure(self):
        frame = self.compress(sample(3_000_000))
        self.file("truncated", frame[:-100])
        self.file("corrupt", frame + b"x")
        self.file("good", frame)
        self.file("to", b"old")
        self.assert_failed(self.decompress_file("truncated", "to"), "truncated")
        self.assert_failed(self.decompress_file("corrupt", "to"), "corrupt")
        self.assert_too_large(self.decompress_file("good", "to", limit=2_999_999), 2_999_999)
        self.assertEqual(self.read("to"), b"old")
        self.assert_files("truncated", "corrupt", "good", "to")

    def test_default_limit_is_a_gibibyte(self):
        os.truncate(self.file("zeros", b""), (1 << 30) + 1)
        self.assertEqual(self.compress_file("zeros", "bomb")[0], "ok")
        self.assert_too_large(self.decompress_file("bomb", "out"), 1 << 30)
        self.assert_files("zeros", "bomb")

    def test_cancelled_in_the_middle(self):
        self.endless_file()
        args = {"path": self.path("endless"), "to": self.path("to")}
        names = lambda: " ".join(os.listdir(self.directory))
        self.in_the_middle = lambda: self.assertRegex(names(), r"\.stevedore-\d+-\d+")
        self.assert_error(self.stop_in_the_middle("zstd.compress", args), "cancelled")
        self.assert_files("endless")

    def test_timed_out_in_the_middle(self):
        self.endless_file()
        args = {"path": self.path("endless"), "to": self.path("to")}
        self.assert_error(self.worker.call("zstd.compress", args, timeout=20), "timed_out")
        self.assert_files("endless")

    def test_places_where_no_file_can_be(self):
        self.file("in", b"x")
        os.mkdir(self.path("directory"))
        os.mkfifo(self.path("fifo"))
        self.assert_failed(self.compress_file("in", "no/where"), "enoent")
        self.assert_failed(self.compress_file("in", "in/side"), "enotdir")
        self.assert_failed(self.compress_file("nothing", "to"), "enoent")
        for to in (self.path("directory"), self.path("fifo"), "/dev/null"):
            self.assert_bad_arg("zstd.compress", {"path": self.path("in"), "to": to}, "to")
        self.assert_bad_arg("zstd.compress", {"path": self.path("fifo"), "to": self.path("to")}, "path")
        self.assert_files("in", "directory", "fifo")

    def test_many_to_one_place(self):
        """Whichever was last wins, and is whole."""
        datas = [sample(100_000, seed) for seed in range(20)]
        for index, data in enumerate(datas):
            self.file(str(index), data)
        calls = [{"path": self.path(str(index)), "to": self.path("to")} for index in range(20)]
        ids = [self.worker.start("zstd.compress", args) for args in calls]
        self.assertEqual({self.worker.terminal(id)[0] for id in ids}, {"ok"})
        self.assertEqual(self.decompress_file("to", "out")[0], "ok")
        self.assertIn(self.read("out"), datas)
        self.assert_files("to", "out", *map(str, range(20)))


if __name__ == "__main__":
    unittest.main()
