"""Plugins: which are refused, what init and finish may count on, and that misuse of the reply
functions harms only its own job.

STEVEDORE_PLUGINS names the directory of the fixtures, built from tests/plugins.
"""

import os
import subprocess
import tempfile
import unittest

from stevedore_client import CODECS, EXECUTABLE, FAULT_PLUGIN, ROOT, Worker, WorkerTest
from test_lifecycle import state, wait_until

PLUGINS = os.environ.get("STEVEDORE_PLUGINS", os.path.join(ROOT, "build", "tests", "plugins"))
BAD_PLUGIN = 69  # PROTOCOL §11.1


def fixture(name):
    return os.path.join(PLUGINS, f"{name}.so")


class Refused(WorkerTest):
    def assert_refused(self, files, *words):
        options = [option for file in files for option in ("--plugin", file)]
        with Worker(*options) as worker:
            self.assertEqual(worker.wait(), BAD_PLUGIN, worker.stderr())
            self.assert_says_why(worker)
            for word in (files[-1], *words):
                self.assertIn(word, worker.stderr())

    def test_each_with_a_reason(self):
        for name, word in [
            ("wrong_abi", "ABI version 2"),
            ("wrong_op_size", "ABI"),
            ("no_symbol", "stevedore_plugin"),
            ("undefined_symbol", "stv_not_offered_by_any_worker"),
            ("duplicate_op", "echo"),
            ("bad_op_name", "Bad Name"),
            ("bad_doc", "bad.doc"),
            ("bad_flags", "0x80000000"),
            ("bad_version", "version"),
            ("init_refuses", "the flux capacitor is not charged"),
        ]:
            with self.subTest(plugin=name):
                self.assert_refused([fixture(name)], word)

    def test_good_one_before_does_not_help(self):
        self.assert_refused([fixture("lifecycle"), fixture("init_refuses")])

    def test_the_same_twice(self):
        self.assert_refused([fixture("lifecycle"), fixture("lifecycle")], "lifecycle.state")

    def test_no_file_and_no_shared_object(self):
        with tempfile.NamedTemporaryFile(suffix=".so") as file:
            file.write(b"not a shared object")
            file.flush()
            self.assert_refused([file.name])
        self.assert_refused(["/nothing/here.so"])


class Loaded(WorkerTest):
    def setUp(self):
        directory = self.enterContext(tempfile.TemporaryDirectory())
        self.log = os.path.join(directory, "log")

    def start(self):
        return Worker("--plugin", fixture("lifecycle"), env={**os.environ, "LIFECYCLE_LOG": self.log})

    def lines(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read().split()

    def test_is_told_of_by_hello_and_ops(self):
        """PROTOCOL §6."""
        with Worker("--plugin", fixture("lifecycle"), plugin=True) as worker:
            plugins = worker.value("hello")["plugins"]
            self.assertIn({"name": "lifecycle", "version": "1.0.0", "file": fixture("lifecycle")}, plugins)
            self.assertIn({"name": "fault", "version": "1.0.0", "file": FAULT_PLUGIN}, plugins)
            ops = {op["name"]: op for op in worker.value("ops")}
            self.assertEqual(ops["lifecycle.state"]["plugin"], "lifecycle")
            self.assertEqual(ops["lifecycle.state"]["flags"], [])
            self.assertEqual(ops["fault.spin"]["flags"], ["idempotent"])
            self.assertEqual(sorted(ops["echo"]["flags"]), ["idempotent", "short"])
            self.assertTrue(all(op["doc"] for name, op in ops.items() if not name.startswith("lifecycle")))

    def test_init_before_all_jobs_and_finish_after(self):
        with self.start() as worker:
            self.assertEqual(worker.value("lifecycle.state"), "initialised")
            worker.finish()
        self.assertEqual(self.lines(), ["init", "job", "finish"])

    def test_finish_at_stop(self):
        with self.start() as worker:
            worker.send("stop")
            self.assertEqual(worker.rest(), [["bye", "stop"]])
            self.assertEqual(worker.wait(), 0)
        self.assertEqual(self.lines(), ["init", "finish"])

    def test_no_finish_when_killed(self):
        with self.start() as worker:
            worker.value("lifecycle.state")
            worker.process.kill()
            worker.wait()
        self.assertEqual(self.lines(), ["init", "job"])


class Chatty(WorkerTest):
    """PROTOCOL §5.4, §5.5: what a plugin prints while the loop does not run. LINES are more than a pipe holds."""

    LINES = [f"{n}" for n in range(1, 5001)]

    def start(self, when):
        return Worker("--plugin", fixture("chatty"), env={**os.environ, "CHATTY": when})

    def test_as_it_is_loaded(self):
        with self.start("init") as worker:
            worker.finish()
            for level, to in (("info", "stdout"), ("warning", "stderr")):
                lines = [log[2] for log in worker.logs if log[1] == level]
                self.assertEqual(lines, [f"to {to} {n}" for n in self.LINES])

    def test_as_it_finishes(self):
        with self.start("finish") as worker:
            worker.send("stop")
            self.assertEqual(worker.rest(), [["bye", "stop"]])
            self.assertEqual(worker.wait(), 0)
            lines = worker.stderr().splitlines()
            for to in ("stdout", "stderr"):
                self.assertEqual([line for line in lines if to in line], [f"to {to} {n}" for n in self.LINES])

    def test_that_does_not_finish(self):
        with self.start("endless") as worker:
            worker.send("stop")
            self.assertEqual(worker.rest(), [["bye", "stop"]])
            self.assertEqual(worker.wait(), 75)
            self.assert_one_line(worker.stderr())


class Symbols(WorkerTest):
    """What a plugin and the worker have inside is no business of each other's."""

    def test_a_function_of_its_own_is_what_a_plugin_calls(self):
        with Worker("--plugin", fixture("own_symbols")) as worker:
            self.assertEqual(worker.value("own_symbols.encrypt"), 1 ^ 2)
            worker.finish()

    def test_the_executable_offers_its_interface_and_nothing_else(self):
        command = ["nm", "--dynamic", "--defined-only", EXECUTABLE]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        functions = [name for _, kind, name in map(str.split, listed.splitlines()) if kind in "TW"]
        self.assertIn("stv_reply_int", functions)
        self.assertEqual([name for name in functions if not name.startswith(("stv_", "_"))], [])


class Misuse(WorkerTest):
    FAILED = {
        "two_replies": "bad_reply",
        "two_puts": "bad_reply",
        "two_takes": "bad_reply",
        "short_list": "bad_reply",
        "long_list": "bad_reply",
        "half_pair": "bad_reply",
        "deep": "bad_reply",
        "nan": "bad_reply",
        "infinity": "bad_reply",
        "bad_text": "bad_reply",
        "silent_failure": "unknown",
        "reply_then_fail": "second_thoughts",
        "many_details": "many",
        "detail_twice": "twice",
        "bad_message": "bytes",
    }

    def setUp(self):
        self.plugin = ("--plugin", fixture("misuse"))

    def test_fails_only_its_own_job(self):
        for codec in CODECS.values():
            with Worker(*self.plugin, codec=codec) as worker:
                for name, code in self.FAILED.items():
                    with self.subTest(op=name, codec=codec.name):
                        reply = worker.call(f"misuse.{name}")
                        self.assert_error(reply, "failed", code=code)
                        self.assertEqual(worker.value("echo", [name]), [name])
                worker.finish()

    def test_details(self):
        """PROTOCOL §7: as many as there is room for, each key once."""
        with Worker(*self.plugin) as worker:
            self.assertEqual(len(worker.call("misuse.many_details")[3]["details"]), 16)
            reply = worker.call("misuse.detail_twice")
            self.assert_error(reply, "failed", code="twice", details={"n": "two"})
            worker.finish()

    def test_statuses_that_make_no_sense(self):
        with Worker(*self.plugin) as worker:
            self.assert_error(worker.call("misuse.stopped_unasked"), "failed")
            self.assert_error(worker.call("misuse.unknown_status"), "failed")
            worker.finish()

    def test_memory_that_is_not_there(self):
        for codec in CODECS.values():
            with Worker(*self.plugin, codec=codec) as worker:
                self.assert_error(worker.call("misuse.take_null"), "no_memory")
                self.assert_error(worker.call("misuse.take_small_null"), "no_memory")
                worker.finish()

    def test_levels_that_are_none(self):
        """PROTOCOL §5.4."""
        with Worker(*self.plugin) as worker:
            id = worker.start("misuse.bad_level")
            [reply] = worker.finish()
            self.assert_ok(reply, None)
            self.assertEqual(worker.logs, [["log", "error", "a line", id]] * 3)

    def test_too_much(self):
        """PROTOCOL §10."""
        for codec in CODECS.values():
            with Worker(*self.plugin, "--max-frame", 1 << 20, codec=codec) as worker:
                self.assertIn(worker.call("misuse.huge_list")[2], ("failed", "too_large", "no_memory"))
                self.assert_error(worker.call("misuse.huge_alloc"), "no_memory")
                self.assert_error(worker.call("misuse.huge_reply"), "too_large")
                largest = worker.value("misuse.largest_reply")
                self.assertGreater(len(largest), (1 << 20) - 1024)
                worker.finish()

    def test_a_child_ends_with_its_own_status(self):
        """It is none of the worker's: nobody is told that an op called exit."""
        with Worker(*self.plugin) as worker:
            self.assertEqual(worker.value("misuse.fork_and_exit"), 3)
            worker.finish()
            self.assertEqual((worker.logs, worker.stderr()), ([], ""))

    def test_closing_what_is_printed_to(self):
        """Nothing is ever printed again; the loop has nothing to do, and sleeps."""
        with Worker(*self.plugin) as worker:
            worker.value("misuse.close_standard")
            worker.value("ping")
            wait_until(lambda: state(worker.process.pid) == "S", "the loop sleeps")
            worker.finish()


if __name__ == "__main__":
    unittest.main()
