"""Windows stay few and none is lost or counted twice, whoever is killed and whoever writes meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from lifecycle.columns import Column, Schema
from lifecycle.monitoring import compaction
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.windows import Recorder, collect
from lifecycle.project import write_text

SCHEMA = Schema(task="regression", target=Column(name="y", kind="number"), time=None, columns=[])
X = np.random.default_rng(0).normal(size=5_000)
REFERENCE = Profile.build({f"x{i}": X for i in range(5)}, X, SCHEMA)


def window(folder: Path, ago: timedelta, rows: int = 10) -> None:
    counted = REFERENCE.empty()
    counted.add({f"x{i}": X[:rows] for i in range(5)}, X[:rows])
    name = f"{datetime.now(UTC) - ago:{compaction.STAMP}}-1-{os.urandom(4).hex()}.json"
    write_text(folder / name, json.dumps(counted.counts_only() | {"rejected": 1}))


def counted(folder: Path, hours: float = 24 * 30) -> tuple[int, int]:
    total, rejected = collect(REFERENCE, folder, "v1", hours)
    assert sum(total.features["x3"]["counts"]) == total.rows
    return total.rows, rejected


def test_a_week_of_windows_becomes_a_few_files_with_the_same_counts(tmp_path: Path) -> None:
    for hour in range(24 * 7):
        for minute in (0, 20, 40):
            window(tmp_path / "v1", timedelta(hours=hour, minutes=minute))
    before = counted(tmp_path)
    assert before == (24 * 7 * 3 * 10, 24 * 7 * 3)
    compaction.compact(tmp_path / "v1")
    assert counted(tmp_path) == before
    assert len(list((tmp_path / "v1").glob("*.json"))) <= 9 + 8
    some = counted(tmp_path, hours=6)[0]
    assert 150 <= some <= 300, "the newest day is kept by three hours"


def test_very_old_windows_are_removed(tmp_path: Path) -> None:
    window(tmp_path / "v1", timedelta(days=91))
    window(tmp_path / "v1", timedelta(days=1))
    compaction.compact(tmp_path / "v1", most=0)
    assert len(list((tmp_path / "v1").glob("*.json"))) == 1


def test_killed_between_writing_and_removing_nothing_counts_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        window(tmp_path / "v1", timedelta(days=2))
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "_remove", lambda *_: None)
        compaction.compact(tmp_path / "v1", most=0)
    assert len(list((tmp_path / "v1").glob("*.json"))) == 5
    assert counted(tmp_path) == (40, 4)
    compaction.compact(tmp_path / "v1", most=0)
    assert len(list((tmp_path / "v1").glob("*.json"))) == 1
    assert counted(tmp_path) == (40, 4)


def test_bins_of_another_version_are_refused(tmp_path: Path) -> None:
    window(tmp_path / "v1", timedelta(0))
    path = next((tmp_path / "v1").glob("*.json"))
    data = json.loads(path.read_text())
    data["features"]["x0"]["counts"].append(1)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="x0 have other bins"):
        counted(tmp_path)


def test_a_window_with_its_bins_as_older_servers_wrote_it_still_counts(tmp_path: Path) -> None:
    window(tmp_path / "v1", timedelta(0))
    path = next((tmp_path / "v1").glob("*.json"))
    path.write_text(json.dumps(REFERENCE.to_dict() | {"rejected": 2}))
    window(tmp_path / "v1", timedelta(0))
    compaction.compact(tmp_path / "v1", most=0)
    assert counted(tmp_path) == (5_010, 3)


STORM = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
import test_windows as t
from datetime import timedelta
for i in range(100_000):
    if sys.argv[3] == "write":
        t.window(Path(sys.argv[1]) / "v1", timedelta(hours=i % 60))
        print(i + 1, flush=True)
    else:
        t.compaction.compact(Path(sys.argv[1]) / "v1", most=0)
"""


def test_writers_compactors_and_kills_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two write, two compact and are killed (-9) over and over; no reader sees a row twice or misses one."""
    (tmp_path / "v1").mkdir()
    here = str(Path(__file__).parent)

    def start(what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", STORM, str(tmp_path), here, what]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    writers = [start("write") for _ in range(2)]
    compactors = [start("compact") for _ in range(2)]
    seen, until = 0, time.monotonic() + 6
    while time.monotonic() < until:
        rows = counted(tmp_path)[0]
        assert rows >= seen, "a row that was there is gone"
        seen = rows
        victim = compactors.pop(0)
        time.sleep(0.3)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        compactors.append(start("compact"))
    for process in [*writers, *compactors]:
        process.send_signal(signal.SIGKILL)
    written = sum(len(process.communicate()[0].splitlines()) for process in writers)
    for process in compactors:
        process.communicate()
    compaction.compact(tmp_path / "v1")
    rows = counted(tmp_path)[0]
    assert written > 50 and 0 <= rows / 10 - written <= 2, "a writer may die between writing and saying so"
    assert len(list((tmp_path / "v1").glob("*.json"))) <= compaction.MOST


def test_a_server_compacts_what_it_writes(tmp_path: Path) -> None:
    recorder = Recorder(REFERENCE, tmp_path, "v1", seconds=3600)
    recorder.start()
    for _ in range(130):
        recorder.add({f"x{i}": X[:1] for i in range(5)}, X[:1])
        recorder.flush()
    recorder.close()
    assert len(list((tmp_path / "v1").glob("*.json"))) < 70
    assert counted(tmp_path)[0] == 130
