"""Plays proto/vectors/sessions: what a host says and what a worker must answer (see proto/vectors/README.md)."""

import json
import os

from stevedore_client import Worker
from vectors import parse_hex


def matches(pattern, value):
    """Whether a value looks like what a transcript expects."""
    if isinstance(pattern, str):
        if pattern == "_":
            return True
        if pattern.startswith("~"):
            return isinstance(value, str) and pattern[1:] in value
    if isinstance(pattern, list):
        return isinstance(value, list) and len(pattern) == len(value) and all(map(matches, pattern, value))
    if isinstance(pattern, dict):
        return isinstance(value, dict) and matches_map(pattern, value)
    return type(pattern) is type(value) and pattern == value


def matches_map(pattern, value):
    required = {key: item for key, item in pattern.items() if key != "..."}
    known = all(key in value and matches(item, value[key]) for key, item in required.items())
    return known and ("..." in pattern or len(required) == len(value))


class Session:
    """A transcript: its headers and its lines."""

    def __init__(self, path):
        self.name = os.path.basename(path)[: -len(".session")]
        with open(path, encoding="utf-8") as file:
            lines = [line.rstrip("\n") for line in file]
        comments = [line[2:] for line in lines if line.startswith("# ")]
        self.headers = dict(comment.split(": ", 1) for comment in comments if ": " in comment)
        self.lines = [line for line in lines if line and not line.startswith("#")]
        self.options = self.headers.get("options", "").split()
        codec = self.headers.get("codec", "both")
        self.codecs = ["etf", "msgpack"] if codec == "both" else [codec]
        self.needs_plugin = "plugin" in self.headers


class Player:
    """Plays one session against one worker."""

    def __init__(self, worker):
        self.worker = worker
        self.group = []  # the patterns of a run of ~ lines
        self.skipped = {"log"}
        self.steps = {
            ">": self.say,
            "<": self.expect_one,
            "~": lambda text: self.group.append(json.loads(text)),
            "skip": self.skipped.add,
            "eof": lambda _: worker.close_stdin(),
            "exit": self.expect_exit,
        }

    def play(self, lines):
        for line in lines:
            word, _, text = line.partition(" ")
            if word != "~":
                self.expect_group()
            try:
                self.steps[word](text)
            except AssertionError as error:
                raise AssertionError(f"{line}\n{error}") from None

    def say(self, text):
        word, _, rest = text.partition(" ")
        if word == "frame":
            self.worker.send_frame(parse_hex(rest))
        elif word == "bytes":
            self.worker.send_bytes(parse_hex(rest))
        elif word == "batch":
            self.worker.send_batch(json.loads(rest))
        else:
            self.worker.send(*json.loads(text))

    def expect_one(self, text):
        self.expect_any([json.loads(text)])

    def expect_group(self):
        group, self.group = self.group, []
        while group:
            group.remove(self.expect_any(group))

    def expect_any(self, patterns):
        """Takes the next message that is not skipped and returns the pattern it matches."""
        while True:
            message = self.worker.receive()
            for pattern in patterns:
                if message is not None and matches(pattern, message):
                    return pattern
            if message is None or message[0] not in self.skipped:
                raise AssertionError(f"got {message}\nexpected {patterns}\nstderr: {self.worker.stderr()}")

    def expect_exit(self, code):
        unexpected = [message for message in self.worker.rest() if message[0] not in self.skipped]
        if unexpected or self.worker.wait() != int(code):
            ending = f"exit code {self.worker.wait()}, said {unexpected}"
            raise AssertionError(f"{ending}; stderr: {self.worker.stderr()}")


def play(session, codec):
    with Worker(*session.options, codec=codec, plugin=session.needs_plugin) as worker:
        Player(worker).play(session.lines)
