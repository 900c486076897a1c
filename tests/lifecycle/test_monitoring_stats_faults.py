"""Served counts under threads, forks and kills: each row is counted once, whatever happens meanwhile."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from lifecycle import files
from lifecycle.monitoring.serving_stats import Recorder, collect
from test_monitoring_stats import NOON, REFERENCE, Clock, counted, recorder, serve, stored


def test_threads_that_count_and_flush_while_hours_turn_count_each_row_once(tmp_path: Path) -> None:
    """The clock goes on by two minutes whenever it is read, and sometimes back by ten."""
    ticks = count()

    def clock() -> float:
        tick = next(ticks)
        return NOON + 120 * (tick - 5 * (tick % 7 == 0))

    made = recorder(tmp_path, clock)
    over = threading.Event()

    def flush() -> None:
        while not over.is_set():
            made.flush()

    def work(number: int) -> None:
        for i in range(300):
            if i % 10 == number:
                made.reject(1)
            else:
                serve(made, 1 + i % 20)

    with ThreadPoolExecutor(6) as pool:
        flushing = [pool.submit(flush) for _ in range(2)]
        for done in [pool.submit(work, number) for number in range(4)]:
            done.result()
        over.set()
        for done in flushing:
            done.result()
    made.flush()
    rows = sum(1 + i % 20 for number in range(4) for i in range(300) if i % 10 != number)
    total, rejected = collect(REFERENCE, tmp_path, "v1", 24 * 30, clock)
    assert (total.rows, rejected) == (rows, 120)
    assert len(stored(tmp_path)) >= 40


def test_only_one_thread_counts_at_a_time(tmp_path: Path) -> None:
    """The clock is read while a row is counted: nobody else reads it before that row is done."""
    reads, go_on = [], threading.Event()

    def clock() -> float:
        reads.append(1)
        go_on.wait(5)
        return NOON

    made = recorder(tmp_path, clock)
    with ThreadPoolExecutor(3) as pool:
        works = [pool.submit(serve, made), pool.submit(serve, made), pool.submit(made.reject, 1)]
        time.sleep(0.2)
        seen = len(reads)
        go_on.set()
        for done in works:
            done.result()
    assert seen == 1 and len(reads) == 3
    made.flush()
    assert counted(tmp_path, 1, clock) == (20, 1)


def test_an_older_content_never_replaces_a_newer_one(tmp_path: Path) -> None:
    """A slow write is under way while another thread flushes: the second waits, and writes last."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Recorder):
        def write(self, name: str, text: str) -> None:
            if not begun.is_set():
                begun.set()
                go_on.wait(5)
            super().write(name, text)

    made = Slow(REFERENCE, tmp_path, "v1", 3600)
    serve(made)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(made.flush)
        begun.wait(5)
        serve(made)  # is not blocked by the write
        second = pool.submit(made.flush)
        time.sleep(0.05)
        go_on.set()
        first.result(), second.result()
    assert counted(tmp_path)[0] == 20


def test_a_fork_replaces_no_file(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    for _ in range(2):
        if not os.fork():
            serve(made)
            made.flush()
            os._exit(0)
        os.wait()
    serve(made)
    made.flush()
    assert counted(tmp_path)[0] == 30


class Writer:
    """A process that serves ten rows, refuses one, flushes and reports it, over and over. It is forked.

    at: the step of a write at which it kills itself (-9): in the middle of a text, before and after a file
    takes its place, before lines are appended. Without it the process goes on until it is killed.
    """

    def __init__(self, folder: Path, at: int = -1) -> None:
        self._reports, say = os.pipe()
        self._process = os.fork()
        if not self._process:
            try:
                _write(folder, say, at)
            finally:
                os._exit(0)
        os.close(say)

    def kill(self) -> None:
        os.kill(self._process, signal.SIGKILL)

    def end(self) -> tuple[int, int]:
        """Wait for the end; return the signal that ended it, and how many flushes it reported."""
        said = b""
        while part := os.read(self._reports, 1 << 16):
            said += part
        os.close(self._reports)
        return os.waitpid(self._process, 0)[1], len(said)


def _write(folder: Path, say: int, at: int) -> None:
    steps, write, replace, append = count(), Path.write_text, Path.replace, files.append_lines

    def step() -> None:
        if next(steps) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def torn(path: Path, text: str, **more: str) -> None:
        write(path, text[: len(text) // 2], **more)
        step()
        write(path, text, **more)

    def moved(path: Path, to: Path) -> None:
        step()
        replace(path, to)
        step()

    def appended(path: Path, lines: list[str]) -> None:
        step()
        append(path, lines)

    Path.write_text, Path.replace, files.append_lines = torn, moved, appended  # type: ignore[method-assign]
    clock = Clock(time.time())
    made = recorder(folder, clock)
    for i in range(12 if at >= 0 else 1_000_000):
        clock.now = time.time() - 3600 * (i // 4 % 3)
        serve(made)
        made.reject(1)
        made.flush()
        os.write(say, b".")


def test_killed_at_any_step_of_a_write_at_most_what_was_not_flushed_is_lost(tmp_path: Path) -> None:
    """Each process begins in the same folder. Reported flushes are there once."""
    ends, before = [], 0
    for at in [*range(48), 1_000]:
        end, flushed = Writer(tmp_path, at).end()
        rows, rejected = counted(tmp_path)
        assert rows == 10 * rejected and flushed <= (rows - before) / 10 <= flushed + 1, (
            f"killed at step {at}"
        )
        ends, before = [*ends, end], rows
    assert ends == [signal.SIGKILL] * 48 + [0], "twelve flushes of four steps each"


def test_writers_that_are_killed_and_readers_at_once_see_every_row_once(tmp_path: Path) -> None:
    """Two write and are killed (-9) over and over; no reader sees a row twice, or misses one it has seen."""
    writers, flushed, killed, seen, until = (
        [Writer(tmp_path), Writer(tmp_path)],
        0,
        0,
        0,
        time.monotonic() + 3,
    )
    while time.monotonic() < until or writers:
        rows = counted(tmp_path)[0]
        assert rows >= seen, "a row that was there is gone"
        seen = rows
        time.sleep(0.1)
        writers[0].kill()
        flushed, killed = flushed + writers.pop(0).end()[1], killed + 1
        writers += [Writer(tmp_path)] if time.monotonic() < until else []
    rows = counted(tmp_path)[0]
    assert flushed > 20 and 0 <= rows / 10 - flushed <= killed, "it may die between a flush and the report"
