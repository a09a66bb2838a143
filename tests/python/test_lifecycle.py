"""How a worker starts and ends, whatever its stdin and stdout are (PROTOCOL §5.4, §8, §11)."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

from etf import Atom
from stevedore_client import (
    EXECUTABLE,
    FAULT_PLUGIN,
    PATIENCE,
    SIGNALS_KILL,
    Etf,
    Msgpack,
    Worker,
    WorkerTest,
    frame,
)

LONG = {"ms": 3_600_000}


def calls(count):
    return b"".join(frame(Etf.encode(("call", id, "ping", None))) for id in range(1, count + 1))


def wait_until(condition, what):
    """Waits for something that no event tells."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.005)


def unread(pipe):
    """How many bytes are in it."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def state(pid):
    """Of its main thread: R, S, Z …, or X if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "X"


def is_running(pid):
    """Whether the process is there and not just waiting to be reaped."""
    return state(pid) not in "ZX"


class Stdin(WorkerTest):
    """§11: stdin may be anything that can be read."""

    def test_a_file(self):
        with tempfile.TemporaryFile() as file:
            file.write(calls(1000))
            file.seek(0)
            with Worker(stdin=file) as worker:
                self.check_all_answered(worker, 1000)

    def test_an_empty_file(self):
        with tempfile.TemporaryFile() as file, Worker(stdin=file) as worker:
            self.check_all_answered(worker, 0)

    def test_dev_null(self):
        with Worker(stdin=subprocess.DEVNULL) as worker:
            self.check_all_answered(worker, 0)

    def test_a_socket_pair(self):
        ours, theirs = socket.socketpair()
        with ours, theirs, Worker(stdin=theirs) as worker:
            theirs.close()
            ours.sendall(calls(1000))
            ours.shutdown(socket.SHUT_WR)
            self.check_all_answered(worker, 1000)

    def test_one_socket_for_both(self):
        ours, theirs = socket.socketpair()
        with ours, theirs, Worker(stdin=theirs, stdout=theirs) as worker:
            theirs.close()
            ours.sendall(calls(3))
            ours.shutdown(socket.SHUT_WR)
            self.assertEqual(worker.wait(), 0)

    def test_closed_before_the_start(self):
        script = f'exec "{EXECUTABLE}" <&-'
        result = subprocess.run(["sh", "-c", script], capture_output=True, timeout=PATIENCE, check=False)
        self.assertIn(result.returncode, (0, 71, 74), result.stderr)

    def check_all_answered(self, worker, count):
        messages = worker.rest()
        self.assertEqual(messages.pop(), ["bye", "eof"])
        self.assert_one_terminal_each(messages, range(1, count + 1))
        self.assertEqual(worker.wait(), 0)

    def test_byte_by_byte(self):
        with Worker() as worker:
            for byte in calls(3) + frame(Msgpack.encode(("call", 4, "echo", 4))):
                worker.send_bytes(bytes([byte]))
            self.assert_one_terminal_each(worker.finish(), [1, 2, 3, 4])


class Stdout(WorkerTest):
    def test_a_file(self):
        with tempfile.TemporaryFile() as file:
            with Worker(stdout=file) as worker:
                worker.send_bytes(calls(1000))
                worker.close_stdin()
                self.assertEqual(worker.wait(), 0)
            file.seek(0)
            self.assertEqual(self.count_frames(file.read()), 1001)

    def count_frames(self, data):
        count = at = 0
        while at < len(data):
            at += 4 + int.from_bytes(data[at : at + 4], "big")
            count += 1
        self.assertEqual(at, len(data))
        return count


def without_reader(*options, **popen):
    """A worker and the read end of its stdout, which nobody reads yet."""
    reader, writer = os.pipe()
    worker = Worker(*options, stdout=writer, **popen)
    os.close(writer)
    return worker, reader


def full_pipe(test):
    """The write end of a pipe that takes no byte more, and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    for end in (reader, writer):
        test.addCleanup(os.close, end)
    return writer


class Reader(WorkerTest):
    """§11: nobody reads stdout any more."""

    def test_stdin_open_and_nobody_reads(self):
        worker, reader = without_reader()
        with worker:
            os.close(reader)
            self.assertEqual(worker.wait(), 74)

    def test_stdin_open_and_the_reader_leaves_while_jobs_run(self):
        worker, reader = without_reader("--threads", 1)
        with worker:
            worker.start("sleep", LONG)
            worker.start("sleep", LONG)
            os.close(reader)
            self.assertEqual(worker.wait(), 74)

    def test_stdin_ended_and_nobody_reads(self):
        worker, reader = without_reader()
        with worker:
            worker.start("sleep", LONG)
            os.close(reader)
            worker.close_stdin()
            self.assertIn(worker.wait(), (0, 74))

    def test_sigpipe_does_not_kill(self):
        worker, reader = without_reader()
        with worker:
            os.close(reader)
            try:
                worker.send_bytes(calls(10_000))
            except BrokenPipeError:
                pass
            self.assertEqual(worker.wait(), 74)

    def test_a_thread_that_hangs_does_not_keep_the_process(self):
        """Both pipes closed, one thread in a deadlock: it is gone, by its own grace or by the watchdog."""
        worker, reader = without_reader("--threads", 1, plugin=True)
        with worker:
            worker.start("fault.hang")
            worker.start("ping")
            self.assertTrue(os.read(reader, 65536))  # the pong: so the job before it has been handed out
            os.close(reader)
            worker.close_stdin()
            self.assertIn(worker.wait(), (0, 74, 75))

    def test_the_watchdog_does_not_wait_for_who_reads_stderr(self):
        worker, reader = without_reader("--threads", 1, plugin=True, stderr=full_pipe(self))
        with worker:
            worker.start("fault.hang")
            worker.start("ping")
            self.assertTrue(os.read(reader, 65536))
            os.close(reader)
            self.assertIn(worker.wait(), (74, 75))

    def test_eof_with_a_reader_waits_for_jobs(self):
        with Worker() as worker:
            worker.start("sleep", {"ms": 300})
            self.assertEqual([message[0] for message in worker.finish()], ["ok"])


class Stop(WorkerTest):
    """§4.3."""

    def stop(self, worker, *message):
        worker.send(*message)
        messages = [message for message in worker.rest() if message[0] != "log"]
        self.assertEqual(worker.wait(), 0)
        self.assertEqual(messages.pop(), ["bye", "stop"])
        return messages

    def test_idle(self):
        for codec in (Etf, Msgpack):
            with Worker(codec=codec) as worker:
                self.assertEqual(self.stop(worker, "stop"), [])

    def test_it_stays_until_what_it_said_is_read(self):
        """A host that writes meanwhile is not told that nobody reads: the BEAM would close its port, unread replies and all."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        with Worker(stdout=writer) as worker:
            os.close(writer)
            worker.send("stop")
            bye = frame(Etf.encode(("bye", Atom("stop"))))
            wait_until(lambda: unread(reader) == len(bye), "bye is written")
            worker.send("cancel", 1)
            self.assertEqual(os.read(reader, len(bye)), bye)
            self.assertEqual(worker.process.wait(PATIENCE), 0)

    def test_but_not_for_ever(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        with Worker(stdout=writer) as worker:
            os.close(writer)
            worker.send("stop")
            self.assertEqual(worker.process.wait(PATIENCE), 0)

    def test_what_runs_may_finish(self):
        with Worker("--threads", 1) as worker:
            running = worker.start("sleep", {"ms": 200}, progress=1)
            worker.receive_where(lambda message: message[0] == "progress")
            queued = worker.start("sleep", LONG)
            messages = [message for message in self.stop(worker, "stop") if message[0] != "progress"]
            self.assert_one_terminal_each(messages, [running, queued])
            outcome = {message[1]: message for message in messages}
            self.assert_ok(outcome[running], None)
            self.assert_error(outcome[queued], "cancelled")
            self.assert_never_ran(outcome[queued])

    def test_grace(self):
        with Worker() as worker:
            id = worker.start("sleep", LONG)
            [reply] = self.stop(worker, "stop", 50)
            self.assert_error(reply, "cancelled")
            self.assertEqual(reply[1], id)

    def test_a_job_that_does_not_stop_is_answered_and_ends_with_the_process(self):
        with Worker("--threads", 1, plugin=True) as worker:
            id = worker.start("fault.hang")
            worker.wait_for_stats(lambda stats: stats["running"] == 1)
            [reply] = self.stop(worker, "stop", 10)
            self.assert_error(reply, "cancelled")
            self.assertEqual(reply[1], id)

    def test_new_calls_are_unavailable(self):
        with Worker("--threads", 1) as worker:
            running = worker.start("sleep", LONG, progress=1)
            worker.receive_where(lambda message: message[0] == "progress")
            worker.send("stop")
            reply = worker.call("sleep", LONG)
            self.assert_error(reply, "unavailable")
            self.assert_never_ran(reply)
            worker.send("cancel", running)
            self.assert_error(worker.terminal(running), "cancelled")
            self.assertEqual(worker.wait(), 0)


class Parent(WorkerTest):
    """No worker outlives its host."""

    # Starts a worker whose stdin and stdout outlive this helper, says its pid and waits to be killed.
    HELPER = """
import subprocess, sys, time
worker = subprocess.Popen(sys.argv[1:], stdin=0, stdout=3)
print(worker.pid, flush=True)
time.sleep(3600)
"""

    def start(self, *options):
        """The helper, and the worker it started: its pid, and our ends of its stdin and stdout."""
        stdin, ours_in = os.pipe()
        ours_out, stdout = os.pipe()
        code = f"import os; os.dup2({stdout}, 3); exec({self.HELPER!r})"
        command = [sys.executable, "-c", code, EXECUTABLE, *options]
        helper = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, pass_fds=(stdout,))
        self.addCleanup(helper.stdout.close)
        for fd in (stdin, stdout):
            os.close(fd)
        for fd in (ours_in, ours_out):
            self.addCleanup(os.close, fd)
        return helper, int(helper.stdout.readline()), ours_in, ours_out

    def ping(self, stdin, stdout):
        """The worker serves: whatever it does on its start is done."""
        os.write(stdin, frame(Etf.encode(("call", 1, "ping", None))))
        self.assertIn(b"pong", os.read(stdout, 65536))

    def test_the_worker_dies_with_its_parent_though_its_pipes_live(self):
        helper, pid, stdin, stdout = self.start()
        self.ping(stdin, stdout)
        helper.kill()
        helper.wait()
        wait_until(lambda: not is_running(pid), "the worker ends with its parent")

    def test_outlive_parent(self):
        helper, pid, stdin, stdout = self.start("--outlive-parent")
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        self.ping(stdin, stdout)
        helper.kill()
        helper.wait()
        self.ping(stdin, stdout)

    def start_in_a_thread_that_ends(self, *options):
        """It ends when the worker serves, for a worker that is not yet tied to it would not notice."""
        started = []

        def start():
            started.append(Worker(*options))
            started[0].value("ping")

        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        return started[0]

    def test_the_parent_is_the_thread_that_started_it(self):
        with self.start_in_a_thread_that_ends() as worker:
            self.assertEqual(worker.wait(), -signal.SIGKILL)

    def test_outlive_the_thread_that_started_it(self):
        with self.start_in_a_thread_that_ends("--outlive-parent") as worker:
            self.assertEqual(worker.value("ping"), "pong")
            worker.finish()

    def test_killed_by_a_signal(self):
        with Worker() as worker:
            worker.value("ping")
            worker.process.terminate()
            self.assertEqual(worker.wait(), -signal.SIGTERM)


class Printing(WorkerTest):
    """§5.4: what an op prints arrives as log, and the stream of frames stays whole."""

    def logs(self, worker):
        replies = worker.finish()
        return worker.logs, replies

    def test_stdout(self):
        with Worker(plugin=True) as worker:
            id = worker.start("fault.print", {"text": "hello\n"})
            logs, replies = self.logs(worker)
            self.assertEqual(logs, [["log", "info", "hello"]])
            self.assert_one_terminal_each(replies, [id])

    def test_stderr(self):
        with Worker(plugin=True) as worker:
            worker.start("fault.print", {"text": "oops\n", "to": "stderr"})
            logs, _ = self.logs(worker)
            self.assertEqual(logs, [["log", "warning", "oops"]])
            self.assertEqual(worker.stderr(), "")

    def test_with_stderr_closed_before_the_start(self):
        with Worker(plugin=True, preexec_fn=lambda: os.close(2)) as worker:
            for to in ("stdout", "stderr"):
                worker.value("fault.print", {"text": f"to {to}\n", "to": to})
            logs, _ = self.logs(worker)
            printed = [message for message in worker.kept if message[0] == "log"] + logs
            self.assertEqual(sorted(printed), [["log", "info", "to stdout"], ["log", "warning", "to stderr"]])

    def test_what_looks_like_a_frame(self):
        with Worker(plugin=True) as worker:
            worker.start("fault.print", {"text": b"\xff\xff\xff\xff\x83h\x04\n"})
            logs, replies = self.logs(worker)
            self.assertEqual(len(replies), 1)
            self.assertTrue(logs[0][2].startswith("\ufffd"), logs)

    def test_much(self):
        with Worker("--threads", 2, plugin=True, codec=Msgpack) as worker:
            ids = [worker.start("fault.print", {"text": f"line {n}\n", "times": 5000}) for n in range(2)]
            ids += [worker.start("echo", n) for n in range(1000)]
            logs, replies = self.logs(worker)
            self.assert_one_terminal_each(replies, ids)
            printed = [log[2] for log in logs if log[1] == "info"]
            self.assertEqual(sorted(set(printed)), ["line 0", "line 1"])
            self.assertEqual(len(printed), 10_000)

    def test_a_line_without_end(self):
        with Worker(plugin=True) as worker:
            worker.start("fault.print", {"text": "x" * 100_000})
            logs, replies = self.logs(worker)
            self.assertEqual(len(replies), 1)
            self.assertTrue(all(len(log[2].encode()) <= 8192 for log in logs))


class ExitCodes(WorkerTest):
    """§11.1."""

    def run_it(self, *arguments, stdin=b""):
        command = [EXECUTABLE, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, check=False)

    def test_help_and_version(self):
        for option in ("--help", "--version"):
            result = self.run_it(option)
            self.assertEqual(result.returncode, 0)
            self.assertTrue(result.stdout)
            self.assertFalse(result.stderr)

    def test_wrong_command_lines(self):
        wrong = (
            ["--no-such-option"],
            ["--threads", "0"],
            ["--threads", "many"],
            ["--threads"],
            ["--max-frame", "-1"],
            ["--max-queue", ""],
            ["surplus"],
        )
        for arguments in wrong:
            with self.subTest(arguments):
                result = self.run_it(*arguments)
                self.assertEqual(result.returncode, 64, result)
                self.assertFalse(result.stdout)
                self.assertTrue(result.stderr)

    def test_a_plugin_that_cannot_be_used(self):
        for file in ("/no/such/file.so", "/dev/null", EXECUTABLE):
            with self.subTest(file):
                result = self.run_it("--plugin", file)
                self.assertEqual(result.returncode, 69, result)
                self.assert_one_line(result.stderr.decode())

    def test_the_same_plugin_twice(self):
        result = self.run_it("--plugin", FAULT_PLUGIN, "--plugin", FAULT_PLUGIN)
        self.assertEqual(result.returncode, 69, result)

    def test_broken_streams(self):
        for stdin in (b"\0\0\0\0", b"\xff\xff\xff\xff", frame(b"{}"), frame(b"\x83h"), b"\0\0\0\x09\x83", b"\0"):
            with self.subTest(stdin):
                result = self.run_it(stdin=stdin)
                self.assertEqual(result.returncode, 65, result)
                self.assert_one_line(result.stderr.decode())

    def test_a_broken_stream_while_nobody_reads_stderr(self):
        with Worker(stderr=full_pipe(self)) as worker:
            worker.send_bytes(b"\0\0\0\0")
            self.assertEqual(worker.wait(), 65)

    def test_stdout_that_cannot_be_written(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        with open("/dev/full", "wb") as full, Worker(stdout=full) as worker:
            worker.send_bytes(calls(10))
            worker.close_stdin()
            self.assertEqual(worker.wait(), 74)

    def test_a_crash_shows_as_its_signal(self):
        with Worker(plugin=True, env=SIGNALS_KILL) as worker:
            worker.start("fault.crash", {"signal": "SEGV", "how": "raise"})
            self.assertEqual(worker.wait(), -signal.SIGSEGV)


if __name__ == "__main__":
    unittest.main()
