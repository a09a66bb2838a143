"""What a worker's black box says of its death (PROTOCOL §12): who did it, where, and which jobs had started."""

import fcntl
import mmap
import os
import select
import signal
import struct
import subprocess
import tempfile
import time
import unittest
from collections import namedtuple

from stevedore_client import (
    EXECUTABLE,
    FAULT_PLUGIN,
    PATIENCE,
    SANITIZED,
    SIGNALS_KILL,
    Etf,
    Worker,
    WorkerTest,
    frame,
    messages_in,
)

BUILD = os.path.dirname(os.path.dirname(EXECUTABLE))
PLUGINS = os.environ.get("STEVEDORE_PLUGINS", os.path.join(BUILD, "tests", "plugins"))
CRASHES = os.path.join(PLUGINS, "crashes.so")
MANY_OPS = os.path.join(PLUGINS, "many_ops.so")
NONE = 0xFFFFFFFF
STATES = {1: "waiting", 2: "running", 3: "finished", 4: "flushed"}
SIZE = 4 << 20  # of a reply that no pipe holds
PINGS = 120_000  # more than fit the slots and a pipe
TRIALS = int(os.environ.get("STEVEDORE_TRIALS", "20"))

Crash = namedtuple("Crash", "complete signal code sender thread job address ran op frames")
Thread = namedtuple("Thread", "tid job op")


def replies_in(stdout):
    """All messages that were written there."""
    at = 0
    while at < len(stdout):
        end = at + 4 + int.from_bytes(stdout[at : at + 4], "big")
        yield from messages_in(stdout[at + 4 : end])
        at = end


def text(data):
    return data.split(b"\0", 1)[0].decode()


class BlackBox:
    """A black box as PROTOCOL §12 describes it, read when it is asked."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, self.version, self.os_pid, self.thread_count, self.op_capacity, self.slot_capacity = self.at("8s5I", 0)
        assert magic == b"STVBBOX1", magic
        self.threads_at, self.crash_at, self.ops_at, self.slots_at = self.at("4Q", 40)

    def at(self, format, offset):
        return struct.unpack_from("=" + format, self.map, offset)

    def threads(self):
        threads = []
        for index in range(self.thread_count):
            tid, _, run, _ = self.at("IIQQ", self.threads_at + 64 * index)
            job, op = run & NONE, run >> 32
            name = None if op == NONE else text(self.at("256s", self.ops_at + 256 * op)[0])
            threads.append(Thread(tid, None if job == NONE else job, name))
        return threads

    def slots(self):
        slots = {}
        (used,) = self.at("I", 28)
        for (word,) in struct.iter_unpack("=Q", self.map[self.slots_at : self.slots_at + 8 * used]):
            state = STATES.get(word >> 32)
            if state and slots.get(word & NONE, "flushed") == "flushed":
                slots[word & NONE] = state
        return slots

    def in_state(self, state):
        return {id for id, its_state in self.slots().items() if its_state == state}

    def crash(self):
        state, number, code, sender, thread, job, address, _, ran = self.at("IiiIIIQQQ", self.crash_at)
        if state == 0:
            return None
        op, count = self.at("256sI", self.crash_at + 48)
        frames = []
        for index in range(count):
            _, _, function, module = self.at("QQ96s80s", self.crash_at + 312 + 192 * index)
            frames.append((text(function), text(module)))
        job = None if job == NONE else job
        return Crash(state == 2, number, code, sender, thread, job, address, ran, text(op), frames)


class BlackBoxTest(WorkerTest):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "black_box")

    def start(self, *more, threads=2, plugins=(), **popen):
        if os.path.exists(self.path):
            os.unlink(self.path)
        options = [word for plugin in plugins for word in ("--plugin", plugin)]
        popen = {"plugin": True, "env": SIGNALS_KILL, **popen}
        worker = self.enterContext(Worker("--threads", threads, "--black-box", self.path, *options, *more, **popen))
        self.until(lambda: os.path.exists(self.path) and os.path.getsize(self.path) > 0 and self.is_ready())
        self.box = BlackBox(self.path)
        return worker

    def is_ready(self):
        with open(self.path, "rb") as file:
            return file.read(8) == b"STVBBOX1"

    def until(self, condition):
        """The box tells by itself, but to who looks."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, "the black box never became as expected")
            time.sleep(0.0005)

    def start_hanging(self, worker, count):
        ids = {worker.start("fault.hang") for _ in range(count)}
        self.until(lambda: self.box.in_state("running") == ids)
        return ids

    def assert_died(self, worker, number):
        worker.rest()
        self.assertEqual(worker.wait(), -number, worker.stderr())
        return self.box.crash()

    def functions(self, crash):
        return [function for function, _ in crash.frames]


def needs_cpp(test):
    return unittest.skipUnless(os.path.exists(CRASHES), "there was no C++ compiler")(test)


class Culprit(BlackBoxTest):
    def assert_told(self, args, number, function):
        worker = self.start()
        id = worker.start("fault.crash", args)
        crash = self.assert_died(worker, number)
        self.assertTrue(crash.complete)
        self.assertEqual((crash.signal, crash.job, crash.op), (number, id, "fault.crash"))
        self.assertIn((function, "fault.so"), crash.frames)
        self.assertEqual(self.box.slots(), {id: "running"})
        return crash

    def test_fault_of_each_kind(self):
        for name, function in [("SEGV", "crash_by_null_write"), ("BUS", "crash_by_mapping_past_end"),
                               ("FPE", "crash_by_division"), ("ILL", "crash_by_illegal_instruction"),
                               ("ABRT", "crash_by_abort")]:
            with self.subTest(signal=name):
                crash = self.assert_told({"signal": name}, getattr(signal, f"SIG{name}"), function)
                if name != "ABRT":
                    self.assertEqual(crash.frames[0], (function, "fault.so"))
                    self.assertGreater(crash.code, 0)
                    self.assertEqual(crash.sender, 0)

    def test_raised(self):
        for name in ("SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS"):
            with self.subTest(signal=name):
                crash = self.assert_told({"signal": name, "how": "raise"}, getattr(signal, f"SIG{name}"), "run_crash")
                self.assertEqual((crash.sender, crash.address), (self.box.os_pid, 0))

    def test_stack_overflow(self):
        crash = self.assert_told({"how": "stack"}, signal.SIGSEGV, "crash_by_recursion")
        # A sanitizer's own functions may be the ones that find no more stack.
        self.assertIn("crash_by_recursion", self.functions(crash)[:4])

    # Behind the stack are the thread's own variables: what is noted must not depend on them. Its frames are gone.
    @unittest.skipIf(SANITIZED, "a sanitizer's functions do depend on them")
    def test_stack_overwritten(self):
        worker = self.start()
        id = worker.start("fault.crash", {"how": "overwrite"})
        worker.rest()
        self.assertEqual(worker.wait(), -signal.SIGSEGV)
        crash = self.box.crash()
        self.assertEqual((crash.signal, crash.job, crash.op), (signal.SIGSEGV, id, "fault.crash"))

    def test_exit(self):
        worker = self.start()
        id = worker.start("fault.exit", {"quick": False})
        worker.rest()
        self.assertEqual(worker.wait(), 76)
        crash = self.box.crash()
        self.assertEqual((crash.signal, crash.job, crash.op), (0, id, "fault.exit"))
        self.assertIn("exit_from_a_library", self.functions(crash))

    def test_address_and_time(self):
        worker = self.start()
        worker.start("fault.crash", {"signal": "SEGV"})
        crash = self.assert_died(worker, signal.SIGSEGV)
        self.assertEqual(crash.address, 0)
        self.assertGreater(crash.ran, 0)
        self.assertLess(crash.ran, PATIENCE * 1e9)

    def test_one_of_eight_again_and_again(self):
        for _ in range(TRIALS):
            worker = self.start(threads=8)
            victims = self.start_hanging(worker, 7)
            culprit = worker.new_id()
            queued = [worker.new_id() for _ in range(3)]
            calls = [("call", culprit, "fault.crash", {})] + [("call", id, "sleep", {"ms": 60_000}, {"priority": 9}) for id in queued]
            hold = worker.start("fault.hang", {"ms": 50})  # so that the others are there before one starts
            self.until(lambda: hold in self.box.in_state("running"))
            for call in calls:
                worker.send(*call)
            crash = self.assert_died(worker, signal.SIGSEGV)
            self.assertEqual((crash.job, crash.op, self.functions(crash)[0]), (culprit, "fault.crash", "crash_by_null_write"))
            self.assertEqual(self.box.in_state("running"), victims | {culprit})
            self.assertEqual(self.box.in_state("waiting"), set(queued))
            self.assertEqual({thread.job for thread in self.box.threads()} - {None}, victims | {culprit})
            worker.__exit__()

    def test_all_at_once(self):
        for _ in range(TRIALS):
            worker = self.start(threads=8)
            ids = [worker.new_id() for _ in range(8)]
            worker.send_batch([("call", id, "fault.crash", {"signal": "ABRT" if id % 2 else "SEGV"}) for id in ids])
            worker.rest()
            code = worker.wait()
            crash = self.box.crash()
            self.assertEqual(-code, crash.signal)
            self.assertIn(crash.job, ids)
            self.assertEqual(crash.signal, signal.SIGABRT if crash.job % 2 else signal.SIGSEGV)
            self.assertIn("run_crash", self.functions(crash))
            worker.__exit__()

    @needs_cpp
    def test_exception_that_escapes(self):
        worker = self.start(plugins=[CRASHES])
        id = worker.start("crashes.throw")
        worker.rest()
        if worker.wait() > 0 and "real___cxa_throw" in worker.stderr():
            self.skipTest("this sanitizer knows exceptions in C++ programs only")
        crash = self.assert_died(worker, signal.SIGABRT)
        self.assertEqual((crash.job, crash.op), (id, "crashes.throw"))
        self.assertIn(("throws_through_c", "crashes.so"), crash.frames)

    @needs_cpp
    def test_call_of_a_null_pointer(self):
        for op, thread in (("crashes.call_null", 1), ("crashes.short", 0)):
            worker = self.start(threads=1, plugins=[CRASHES])
            id = worker.start(op)
            crash = self.assert_died(worker, signal.SIGSEGV)
            self.assertEqual((crash.job, crash.op, crash.thread), (id, op, thread))
            self.assertEqual(crash.frames[:2], [("", ""), ("calls_null", "crashes.so")])

    @needs_cpp
    def test_stack_that_cannot_be_walked(self):
        """The second crash, in the handler, ends it with the first one's signal; the culprit is known all the same."""
        worker = self.start(plugins=[CRASHES])
        id = worker.start("crashes.lose_stack")
        crash = self.assert_died(worker, signal.SIGSEGV)
        self.assertEqual((crash.signal, crash.job, crash.op), (signal.SIGSEGV, id, "crashes.lose_stack"))
        self.assertEqual(crash.frames[0], ("loses_its_stack", "crashes.so"))

    @needs_cpp
    def test_thread_of_an_op(self):
        worker = self.start(plugins=[CRASHES])
        id = worker.start("crashes.in_thread")
        crash = self.assert_died(worker, signal.SIGSEGV)
        self.assertEqual((crash.thread, crash.job), (NONE, None))
        self.assertEqual(self.functions(crash)[0], "writes_to_null")
        self.assertEqual(self.box.slots(), {id: "running"})

    @needs_cpp
    def test_child_of_an_op(self):
        worker = self.start(plugins=[CRASHES])
        self.assertEqual(worker.value("crashes.in_child"), signal.SIGSEGV)
        self.assertIsNone(self.box.crash())

    def test_signal_from_outside_names_no_job(self):
        worker = self.start()
        victims = self.start_hanging(worker, 2)
        worker.process.send_signal(signal.SIGSEGV)
        crash = self.assert_died(worker, signal.SIGSEGV)
        self.assertEqual((crash.signal, crash.sender, crash.job), (signal.SIGSEGV, os.getpid(), None))
        self.assertEqual(self.box.in_state("running"), victims)


class Slots(BlackBoxTest):
    def test_killed_while_jobs_run_and_wait(self):
        worker = self.start(threads=8)
        running = self.start_hanging(worker, 8)
        waiting = {worker.start("sleep", {"ms": 0}) for _ in range(100)}
        self.until(lambda: self.box.in_state("waiting") == waiting)
        worker.process.kill()
        self.assertIsNone(self.assert_died(worker, signal.SIGKILL))
        self.assertEqual(self.box.in_state("running"), running)
        self.assertEqual(self.box.in_state("waiting"), waiting)
        self.assertEqual({thread.job for thread in self.box.threads()} - {None}, running)
        self.assertEqual({thread.op for thread in self.box.threads()} - {None}, {"fault.hang"})

    def test_answered_ones_are_flushed(self):
        worker = self.start()
        for op in ("echo", "ping", "sleep"):
            worker.value(op, {"ms": 1})
        self.until(lambda: set(self.box.slots().values()) == {"flushed"})
        self.assertEqual(worker.finish(), [])
        self.assertIsNone(self.box.crash())

    def test_one_that_never_runs_stands_as_nothing_that_ran(self):
        worker = self.start(threads=1)
        running = self.start_hanging(worker, 1)
        cancelled = worker.start("sleep", {"ms": 1})
        worker.send("cancel", cancelled)
        self.assert_error(worker.terminal(cancelled), "cancelled")
        expired = worker.start("sleep", {"ms": 1}, queue_timeout=1)
        self.assert_error(worker.terminal(expired), "queue_timeout")
        self.assertEqual(self.box.in_state("running"), running)
        self.assertEqual(set(self.box.slots()), running)

    def test_half_a_reply_in_the_pipe_is_finished(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        worker = self.start(stdout=writer)
        os.close(writer)
        large = worker.start("echo", bytes(SIZE))
        select.select([reader], [], [], PATIENCE)  # its first bytes are there
        self.assertEqual(self.box.slots(), {large: "finished"})
        small = worker.start("echo", 1)
        self.until(lambda: self.box.slots() == {large: "finished", small: "finished"})
        in_pipe = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
        left = int.from_bytes(os.read(reader, 4), "big")
        while left > 2 * in_pipe:
            self.assertEqual(self.box.slots()[large], "finished")
            left -= len(os.read(reader, in_pipe))
        while left > 0:
            left -= len(os.read(reader, left))
        self.until(lambda: set(self.box.slots().values()) == {"flushed"})

    def test_more_unread_replies_than_slots_are_refused(self):
        """A host that reads nothing and asks on: what has no slot is `overloaded`, and never ran (PROTOCOL §7)."""
        reader, writer = os.pipe()
        worker = self.start("--max-queue", 1, stdout=writer)
        os.close(writer)
        for start in range(0, PINGS, 1000):
            worker.send_batch([("call", id, "ping", None) for id in range(start, start + 1000)])
        worker.close_stdin()
        replies = []
        with open(reader, "rb") as stdout:
            while header := stdout.read(4):
                replies += messages_in(stdout.read(int.from_bytes(header, "big")))
        self.assertEqual(replies.pop(), ["bye", "eof"])
        self.assertEqual([reply[1] for reply in replies], list(range(PINGS)))
        refused = [reply for reply in replies if reply[0] == "error"]
        self.assertGreater(len(refused), 0)
        for reply in refused:
            self.assert_error(reply, "overloaded", what="jobs")

    def test_slots_are_used_again(self):
        worker = self.start()
        for _ in range(100):
            worker.send_batch([("call", worker.new_id(), "echo", None) for _ in range(100)])
            for id in range(worker.last_id - 99, worker.last_id + 1):
                worker.terminal(id)
        self.assertLessEqual(self.box.at("I", 28)[0], 4096 + 200)


class File(BlackBoxTest):
    def test_is_private_and_never_one_that_exists(self):
        self.start()
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        with Worker("--black-box", self.path) as second:
            self.assertEqual(second.wait(), 71)
            self.assert_one_line(second.stderr())
            self.assertIn("File exists", second.stderr())

    def test_cannot_be_made(self):
        with Worker("--black-box", "/nowhere/box") as worker:
            self.assertEqual(worker.wait(), 71)
            self.assertIn("/nowhere/box", worker.stderr())

    def command(self, *arguments):
        return subprocess.run([EXECUTABLE, "blackbox", *arguments], capture_output=True, text=True, timeout=PATIENCE)

    def test_command_tells_of_a_crash(self):
        worker = self.start(threads=2)
        self.start_hanging(worker, 1)
        id = worker.start("fault.crash")
        self.assert_died(worker, signal.SIGSEGV)
        told = self.command(self.path)
        self.assertEqual((told.returncode, told.stderr), (0, ""))
        self.assertRegex(told.stdout, r"SIGSEGV at 0x0 ")
        self.assertRegex(told.stdout, rf"job {id}, op fault\.crash, after \d+ .s\n")
        self.assertRegex(told.stdout, r"#0 +crash_by_null_write\+0x[0-9a-f]+ \(fault\.so\)\n")
        self.assertIn("0 waiting, 2 running, 0 finished", told.stdout)
        self.assertIn("op fault.hang", told.stdout)

    def test_command_of_one_that_lives(self):
        self.start()
        told = self.command(self.path)
        self.assertEqual(told.returncode, 0)
        self.assertIn("crashed:  no", told.stdout)

    def test_command_refuses(self):
        self.start()
        with open(self.path, "rb") as file:
            whole = file.read()
        for content in (b"", b"STVBBOX1", whole[:4000], b"x" * 8000, whole[:8] + b"\2" + whole[9:],
                        whole[:40] + b"\xff" * 32 + whole[72:]):
            with tempfile.NamedTemporaryFile() as file:
                file.write(content)
                file.flush()
                told = self.command(file.name)
                self.assertEqual((told.returncode, told.stdout), (1, ""))
                self.assert_one_line(told.stderr)
        self.assertEqual(self.command("/nowhere").returncode, 74)
        self.assertEqual(self.command().returncode, 64)
        self.assertEqual(self.command("a", "b").returncode, 64)

    def in_small_file_system(self, size, command, stdin=b""):
        """In a mount namespace, where DIRECTORY is a file system of that size: what /dev/shm of a container can be like."""
        with tempfile.TemporaryDirectory() as directory:
            script = f"mount -t tmpfs -o size={size} none {directory} && {{ {command.replace('DIRECTORY', directory)}; }}"
            command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
            return subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, check=False)

    def require_small_file_systems(self):
        if self.in_small_file_system("4k", "true").returncode != 0:
            self.skipTest("no file system can be mounted here")

    def test_without_room_is_a_failed_start_and_no_sigbus_later(self):
        self.require_small_file_systems()
        start = f"{EXECUTABLE} --threads 1 --black-box DIRECTORY/box"
        end = self.in_small_file_system("4k", f"{start} >/dev/null; echo $?; ls DIRECTORY")
        self.assertEqual(end.stdout, b"71\n")
        self.assertIn(b"there is no room for the black box", end.stderr)
        end = self.in_small_file_system("400k", f"{start} --plugin {MANY_OPS}")
        self.assertEqual(end.returncode, 71)
        self.assertIn(b"there is no room for the black box", end.stderr)

    def test_without_room_for_more_slots_calls_are_overloaded(self):
        """And never ran (PROTOCOL §7, §12): what the queue would hold has to be noted."""
        self.require_small_file_systems()
        count, batch = 60_000, 1000
        calls = [("call", id, "sleep", {"ms": 3_600_000}) for id in range(count)]
        frames = [frame(Etf.batch(calls[at : at + batch])) for at in range(0, count, batch)]
        stdin = b"".join([*frames, frame(Etf.encode(("stop", 0)))])
        end = self.in_small_file_system("400k", f"{EXECUTABLE} --threads 1 --black-box DIRECTORY/box", stdin)
        self.assertEqual((end.returncode, end.stderr), (0, b""))
        replies = list(replies_in(end.stdout))
        self.assertEqual(replies.pop(), ["bye", "stop"])
        self.assert_one_terminal_each(replies, range(count))
        refused = [reply for reply in replies if reply[2] == "overloaded"]
        self.assertGreater(len(refused), 0)
        for reply in refused:
            self.assert_error(reply, "overloaded", what="jobs", limit=count - len(refused))
            self.assert_never_ran(reply)


if __name__ == "__main__":
    unittest.main()
