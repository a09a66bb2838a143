"""What limits a worker (docs/guides/confining_a_worker.md): each measure is in effect before any code of a plugin
runs, says so in `hello` (PROTOCOL §6), and ends the start if it is required and cannot be had (§11.1).

Everything is tried for real, as the user who runs the tests and, if that is root, as nobody too.
"""

import glob
import os
import resource
import signal
import subprocess
import tempfile
import unittest

from stevedore_client import EXECUTABLE, FAULT_PLUGIN, ROOT, SANITIZED, SIGNALS_KILL, Etf, Worker, WorkerTest, frame

PLUGINS = os.environ.get("STEVEDORE_PLUGINS", os.path.join(ROOT, "build", "tests", "plugins"))
HOSTILE = os.path.join(PLUGINS, "hostile.so")
MISUSE = os.path.join(PLUGINS, "misuse.so")
WRONG_USAGE, NO_RESOURCES = 64, 71  # PROTOCOL §11.1
NOBODY = 65534
STRICT = ("--seccomp", "strict", "--landlock-none")
NAMES = ["no_new_privs", "oom_score", "nice", "memory", "cpu", "files", "address_space", "file_size", "landlock", "seccomp"]

# A confined process can neither be searched for leaks, which takes a process, nor show where it is in its sources.
ENVIRONMENT = SIGNALS_KILL | {"ASAN_OPTIONS": SIGNALS_KILL["ASAN_OPTIONS"] + ":detect_leaks=0:symbolize=0"}

# What basic seccomp rules refuse, and what strict ones refuse in addition.
BASIC = {"trace_parent", "read_parent", "mount", "bpf", "io_uring", "unshare", "call_in_32_bit", "call_in_x32"}
BY_STRICT = {"inet_socket", "unix_socket", "pair_of_sockets", "fork", "posix_spawn", "system", "execve", "signal_parent",
             "signal_group", "signal_parent_thread", "own_by_parent", "limit_parent", "setuid", "outlive_parent",
             "type_on_terminal", "renice_parent", "renice_group", "renice_user", "pin_parent", "schedule_parent",
             "set_parents_param", "set_parents_attr", "set_parents_io"}
FILES = {"open_passwd", "list_root", "create_file"}


def as_nobody():
    """What Popen takes to run the worker as nobody, or None if that cannot be."""
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        subprocess.run([EXECUTABLE, "--version"], stdout=subprocess.DEVNULL, check=True, **user)
        return user if os.access(HOSTILE, os.R_OK) else None
    except (OSError, subprocess.SubprocessError):
        return None


class ConfineTest(WorkerTest):
    def start(self, *options, **popen):
        options = ("--threads", 2, "--plugin", HOSTILE, *options)
        return self.enterContext(Worker(*options, plugin=True, env=ENVIRONMENT, **popen))

    def status(self, worker):
        return worker.value("hello")["confinement"]

    def assert_not_started(self, code, options, *words, told=True, **popen):
        with Worker(*options, env=ENVIRONMENT, **popen) as worker:
            self.assertEqual(worker.wait(), code, worker.stderr())
            self.assert_says_why(worker, told)
            for word in words:
                self.assertIn(word, worker.stderr())

    def require(self, *names):
        """Skips the test where the system cannot do that; that it says so is asserted elsewhere."""
        worker = self.start(*STRICT)
        for name in names:
            if self.status(worker)[name] != "on":
                self.skipTest(f"{name}: {self.status(worker)[name]}")

    def assert_ordinary_ops_run(self, worker):
        self.assertEqual(worker.value("ping"), "pong")
        self.assertEqual(worker.value("echo", {"a": [1]}), {"a": [1]})
        self.assertEqual(worker.value("sleep", {"ms": 1}), None)
        self.assertTrue(worker.value("digest", {"algorithm": "sha256", "data": b"x" * 100_000}))
        small = worker.call("zstd.compress", {"data": b"x" * 100_000})[2]
        small = small if isinstance(small, bytes) else small.encode()
        self.assertEqual(worker.value("zstd.decompress", {"data": small}), "x" * 100_000)
        self.assertEqual(worker.value("stats")["threads"], 2)


class Users(ConfineTest):
    """The same as whoever runs the tests, and as nobody."""

    def each_user(self):
        yield {}
        if os.geteuid() == 0:
            nobody = as_nobody()
            if nobody is not None:
                yield nobody
            else:
                print("\n(not tried as nobody, who cannot reach the build directory)")

    def attempts(self, worker):
        """What became of them at every time at which a plugin can try."""
        for op in ("hostile.at_load", "hostile.at_init", "hostile.now"):
            yield op, worker.value(op)

    def test_without_options_a_plugin_may_do_what_the_system_allows(self):
        for user in self.each_user():
            worker = self.start(**user)
            for _, outcome in self.attempts(worker):
                for name in ("open_passwd", "list_root", "create_file", "inet_socket", "unix_socket", "fork",
                             "posix_spawn", "system", "signal_self", "outlive_parent"):
                    self.assertEqual(outcome[name], "allowed", name)
                self.assertEqual(outcome["execve"], "ENOENT")
                self.assertEqual(outcome["mount"], "ENOENT")
            self.assert_ordinary_ops_run(worker)

    def test_strict_and_no_file(self):
        self.require("landlock", "seccomp")
        for user in self.each_user():
            worker = self.start(*STRICT, "--require", "landlock,seccomp", **user)
            for op, outcome in self.attempts(worker):
                for name in (BASIC | BY_STRICT) & outcome.keys():
                    self.assertEqual(outcome[name], "EPERM", (op, name))
                for name in FILES:
                    self.assertEqual(outcome[name], "EACCES", (op, name))
                for name in ("signal_self", "renice_self", "pin_self"):
                    self.assertEqual(outcome[name], "allowed", (op, name))
            self.assert_error(worker.call("hostile.open", {"path": HOSTILE}), "failed", code="eacces")
            self.assert_error(worker.call("hostile.open", {"path": "/lib"}), "failed", code="eacces")
            self.assert_ordinary_ops_run(worker)
            self.assertEqual(worker.finish(), [])

    def test_basic_leaves_programs_and_sockets(self):
        self.require("seccomp")
        for user in self.each_user():
            worker = self.start("--seccomp", "basic", **user)
            for op, outcome in self.attempts(worker):
                for name in BASIC & outcome.keys():
                    self.assertEqual(outcome[name], "EPERM", (op, name))
                for name in ("open_passwd", "inet_socket", "fork", "posix_spawn", "system"):
                    self.assertEqual(outcome[name], "allowed", (op, name))
            self.assert_ordinary_ops_run(worker)

    def test_only_these_paths(self):
        self.require("landlock")
        for user in self.each_user():
            with tempfile.TemporaryDirectory() as directory:
                os.chmod(directory, 0o777)
                self.check_paths(directory, user)

    def check_paths(self, directory, user):
        for name in ("in", "out", "else"):
            os.mkdir(os.path.join(directory, name))
            os.chmod(os.path.join(directory, name), 0o777)
        read, write, other = (os.path.join(directory, name, "file") for name in ("in", "out", "else"))
        for path in (read, write, other):
            with open(path, "w", encoding="ascii"):
                pass
            os.chmod(path, 0o666)
        worker = self.start("--landlock-read", os.path.dirname(read), "--landlock-write", os.path.dirname(write),
                            "--landlock-read", "/etc/hostname", "--require", "landlock", **user)
        may = lambda path, **how: worker.call("hostile.open", {"path": path, **how})
        for reply in (may(read), may(write), may(write, write=True), may(write + "2", write=True),
                      may("/etc/hostname")):
            self.assert_ok(reply, None)
        for reply in (may(read, write=True), may(read + "2", write=True), may(other), may(other, write=True),
                      may("/etc/passwd"), may("/etc/hostname", write=True)):
            self.assert_error(reply, "failed", code="eacces")

    def test_dies_of_the_true_signal(self):
        self.require("landlock", "seccomp")
        for user in self.each_user():
            for args in ({"signal": "SEGV"}, {"signal": "ABRT"}, {"signal": "FPE"}, {"signal": "ILL"},
                         {"signal": "BUS", "how": "raise"}, {"how": "stack"}, {"signal": "KILL"}):
                with self.subTest(**args, **user):
                    worker = self.start(*STRICT, **user)
                    worker.start("fault.crash", args)
                    self.assertEqual(worker.rest(), [])
                    self.assertEqual(worker.wait(), -getattr(signal, "SIG" + args.get("signal", "SEGV")))

    def test_oom_score_is_raised_by_default(self):
        for user in self.each_user():
            worker = self.start(**user)
            self.assertEqual(self.status(worker)["oom_score"], "on")
            self.assertEqual(self.oom_score(worker), max(500, self.oom_score(None)))
            worker = self.start("--oom-score-adj", 700, **user)
            self.assertEqual(self.status(worker)["oom_score"], "on")
            self.assertEqual(self.oom_score(worker), max(700, self.oom_score(None)))
            worker = self.start("--oom-score-adj", 0, **user)
            self.assertEqual(self.status(worker)["oom_score"], "off")
            self.assertEqual(self.oom_score(worker), self.oom_score(None))

    def oom_score(self, worker):
        with open(f"/proc/{worker.process.pid if worker else 'self'}/oom_score_adj", encoding="ascii") as file:
            return int(file.read())


class Told(ConfineTest):
    def test_hello_names_all(self):
        status = self.status(self.start())
        self.assertEqual(sorted(status), sorted(NAMES))
        wanted = ("no_new_privs", "oom_score")
        self.assertEqual([status[name] for name in NAMES if name not in wanted], ["off"] * 8)
        self.assertEqual(status["no_new_privs"], "on")

    def test_a_wish_that_failed_is_logged(self):
        worker = self.start("--limit-memory", "512M")
        status = self.status(worker)["memory"]
        if status == "on":
            self.skipTest("memory can be limited here")
        level, text = worker.receive_where(lambda message: message[0] == "log")[1:]
        self.assertEqual(level, "warning")
        self.assertIn("memory", text)
        self.assertIn(status, text)

    def test_no_new_privs_of_every_thread(self):
        worker = self.start(*STRICT)
        worker.value("echo", 1)
        for path in glob.glob(f"/proc/{worker.process.pid}/task/*/status"):
            with open(path, encoding="ascii") as file:
                text = file.read()
            self.assertIn("NoNewPrivs:\t1", text)
            if self.status(worker)["seccomp"] == "on":
                self.assertIn("Seccomp:\t2", text)


class Required(ConfineTest):
    """§11.1: 71, and one line that says which, why and what to do."""

    def test_what_nothing_asks_for(self):
        for name, option in (("seccomp", "--seccomp"), ("landlock", "--landlock-none"), ("memory", "--limit-memory"),
                             ("cpu", "--limit-cpu")):
            self.assert_not_started(NO_RESOURCES, ("--require", name), name, option)

    def test_what_cannot_be_had(self):
        if self.status(self.start("--limit-memory", "1G"))["memory"] == "on":
            self.skipTest("memory can be limited here")
        self.assert_not_started(NO_RESOURCES, ("--limit-memory", "1G", "--require", "nice,memory", "--nice", 3),
                                "memory", "cgroup")

    def test_what_can(self):
        worker = self.start("--require", "oom_score,no_new_privs", "--require", "nice", "--nice", 1)
        self.assertEqual(worker.value("ping"), "pong")


class Usage(ConfineTest):
    def test_wrong_values(self):
        for options, word in [
            (("--require", "sandbox"), "sandbox"),
            (("--require", "seccomp,"), "--require"),
            (("--require", ""), "--require"),
            (("--seccomp", "harsh"), "harsh"),
            (("--nice", "20"), "20"),
            (("--nice", "-1"), "-1"),
            (("--oom-score-adj", "1001"), "1001"),
            (("--limit-cpu", "0"), "--limit-cpu"),
            (("--limit-files", "3"), "--limit-files"),
            (("--limit-address-space", "1"), "--limit-address-space"),
            (("--limit-file-size", "x"), "--limit-file-size"),
            (("--limit-memory", "1T"), "1T"),
            (("--limit-memory",), "--limit-memory"),
            (("--landlock-none", "--landlock-read", "/etc"), "/etc"),
            (("--landlock-write", "/etc", "--landlock-none"), "/etc"),
            (("--landlock-read", "/tmp") * 65, "64"),
        ]:
            with self.subTest(options=options[:4]):
                self.assert_not_started(WRONG_USAGE, options, word, told=False)

    def test_a_path_that_is_not_there(self):
        self.require("landlock")
        for option in ("--landlock-read", "--landlock-write"):
            self.assert_not_started(WRONG_USAGE, (option, "/nothing/here"), option, "/nothing/here", "No such file")


class Limits(ConfineTest):
    def test_nice(self):
        worker = self.start("--nice", 7)
        worker.value("echo", 1)
        for path in glob.glob(f"/proc/{worker.process.pid}/task/*/stat"):
            with open(path, encoding="ascii") as file:
                self.assertGreaterEqual(int(file.read().rsplit(")", 1)[1].split()[16]), 7)

    def test_files(self):
        worker = self.start("--limit-files", 64)
        count = worker.value("hostile.open_many")
        self.assertGreater(count, 10)
        self.assertLess(count, 64)

    def test_the_least_number_of_files_is_enough(self):
        worker = self.start("--limit-files", 32, *STRICT)
        self.assertGreater(worker.value("hostile.open_many"), 0)
        self.assert_ordinary_ops_run(worker)
        self.assertEqual(worker.finish(), [])

    def test_file_size(self):
        with tempfile.TemporaryDirectory() as directory:
            worker = self.start("--limit-file-size", "4K")
            args = {"path": os.path.join(directory, "file"), "data": b"x" * 4096}
            self.assert_error(worker.call("hostile.write", args), "failed", code="efbig")
            self.assertEqual(worker.value("hostile.write", args | {"data": b"x" * 4095}), 1)

    @unittest.skipIf(SANITIZED, "sanitizers reserve more address space than there is memory")
    def test_address_space(self):
        worker = self.start("--limit-address-space", "512M")
        self.assert_error(worker.call("fault.alloc", {"bytes": 1 << 30}), "no_memory")
        self.assertEqual(worker.value("fault.alloc", {"bytes": 1 << 20}), 1 << 20)
        self.assert_ordinary_ops_run(worker)

    @unittest.skipIf(SANITIZED, "sanitizers reserve more address space than there is memory")
    def test_address_space_for_fewer_threads(self):
        """Their stacks are larger than those that RLIMIT_STACK gives others."""
        options = ("--threads", 32, "--limit-address-space", "200M")
        _, most = resource.getrlimit(resource.RLIMIT_STACK)
        small_stack = lambda: resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, most))
        self.assert_not_started(NO_RESOURCES, options, "of 32 threads", preexec_fn=small_stack)

    @unittest.skipIf(SANITIZED, "sanitizers reserve more address space than there is memory")
    def test_address_space_that_holds_arguments_but_no_copy_of_them(self):
        """Whatever the limit, a worker that can echo them lives on."""
        data = "x" * (60 << 20)
        kinds = set()
        for limit in range(110, 330, 40):
            with Worker("--threads", 1, "--plugin", MISUSE, "--limit-address-space", f"{limit}M") as worker:
                if self.outcome(worker, "echo", data) == "ok":
                    kinds.add(self.outcome(worker, "misuse.map_of_args", data))
        self.assertEqual(kinds, {"ok", "no_memory"})

    def outcome(self, worker, op, args):
        """`ok`, the kind of the error, or its exit code."""
        try:
            reply = worker.call(op, args)
            return reply[2] if reply[0] == "error" else "ok"
        except (AssertionError, BrokenPipeError):
            return worker.wait()

    def test_cpu(self):
        worker = self.start("--limit-cpu", 1)
        worker.start("fault.spin", {"ms": 86_400_000})
        self.assertEqual([message for message in worker.rest() if message[0] != "log"], [])
        self.assertEqual(worker.wait(), -signal.SIGXCPU)

    def test_memory(self):
        worker = self.start("--limit-memory", "256M")
        status = self.status(worker)["memory"]
        if status != "on":
            self.skipTest(f"memory: {status}")
        worker.start("fault.leak", {"bytes": 1 << 30})
        self.assertEqual(worker.rest(), [])
        self.assertEqual(worker.wait(), -signal.SIGKILL)


class AtWork(ConfineTest):
    """Both codecs, the black box, a stack of a stuck job and printing, under everything at once."""

    def test_all_at_once(self):
        with tempfile.TemporaryDirectory() as directory:
            box = os.path.join(directory, "box")
            worker = self.start(*STRICT, "--limit-files", 32, "--limit-file-size", "1", "--limit-cpu", 1000,
                                "--nice", 1, "--black-box", box)
            self.assert_ordinary_ops_run(worker)
            self.assertEqual(worker.value("fault.print", {"text": "hello\n"}), 1)
            id = worker.start("fault.hang", {"mode": "busy"}, timeout=1, kill_after=1)
            stuck = worker.receive_where(lambda message: message[:2] == ["stuck", id])
            self.assertTrue(SANITIZED or any("hang_busy" in line for line in stuck[3]), stuck)
            worker.start("fault.crash")
            worker.rest()
            self.assertEqual(worker.wait(), -signal.SIGSEGV)
            told = subprocess.run([EXECUTABLE, "blackbox", box], capture_output=True, text=True, check=True).stdout
            self.assertIn("crash_by_null_write", told)

    def test_stop(self):
        worker = self.start(*STRICT)
        worker.send_bytes(frame(Etf.encode(("stop",))))
        self.assertEqual([message for message in worker.rest() if message[0] != "log"], [["bye", "stop"]])
        self.assertEqual(worker.wait(), 0)


if __name__ == "__main__":
    unittest.main()
