"""The lock, the cooldown, the time limit and the retries of retraining: by real processes and a real DVC."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from lifecycle import settings
from lifecycle.automation import retraining
from lifecycle.automation.retraining import Note, begin, cooldown, end, retrain, run_step
from lifecycle.errors import Busy, RegistryError
from lifecycle.project import Project
from lifecycle.state.store import open_state
from services.heard import Heard, listening

PATIENCE = 60  # seconds


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    with listening() as heard:
        for name, value in heard.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("LIFECYCLE_RETRAIN__RETRY_SECONDS", "0.01")
        yield heard


def python(code: str, *words: str) -> subprocess.Popen[str]:
    """Run code in a process of its own; `project` is there."""
    code = f"from lifecycle.project import Project\nproject = Project.find()\n{code}"
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *words], **pipes)


def note(project: Project) -> Note:
    return Note.read(open_state(project))[0]


def until(path: Path) -> str:
    end = time.monotonic() + PATIENCE
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)
    return path.read_text()


# The lock


def test_one_of_many_begins_and_the_others_are_alerted(project: Project, heard: Heard) -> None:
    """Six processes, as on six hosts."""
    code = "import sys\nfrom lifecycle.automation.retraining import begin\nbegin(project, sys.argv[1], 'x')"
    started = [python(code, f"host{number}") for number in range(6)]
    errors = [process.communicate()[1] for process in started]
    assert sorted(process.returncode for process in started) == [0, *[1] * 5]
    assert all("Busy" in text for text in errors if text and "Traceback" in text)
    alerts, beats = heard.take()
    assert len(alerts) == 5 and beats == ["/start"]
    assert all("was not begun" in text for text in alerts)


@pytest.mark.parametrize("registry", ["mlflow", "s3"])
def test_the_lock_ends_with_the_run_or_after_its_time(
    registry: str, project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = replace(project, registry=registry)
    begin(project, "a", "schedule")
    with pytest.raises(Busy, match="a has retrained for 0 min, and is still going on"):
        begin(project, "b", "schedule")
    end(project, "a", 5)
    begin(project, "b", "schedule")
    monkeypatch.setenv("LIFECYCLE_RETRAIN__LOCK_HOURS", "0.0000001")
    begin(project, "c", "schedule")
    alerts, beats = heard.take()
    assert any("a failed (exit code 5)" in text for text in alerts)
    assert any("b never ended (schedule): it died, and c takes over" in text for text in alerts)
    assert beats == ["/start", "/fail", "/start", "/start"]


def test_a_dead_process_of_this_host_is_taken_over_at_once(project: Project, heard: Heard) -> None:
    code = "import os, sys, time\nfrom lifecycle.automation.retraining import begin\n"
    code += "begin(project, 'a', 'schedule', os.getpid())\nprint('begun', flush=True)\ntime.sleep(600)"
    first = python(code)
    assert first.stdout and first.stdout.readline() == "begun\n"
    for run in ("b", "a"):  # not even under the same name: it runs
        with pytest.raises(Busy, match="still going on"):
            begin(project, run, "schedule", os.getpid())
    heard.take()
    first.kill()
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # dead, though its parent has not taken note
    begin(project, "b", "schedule", os.getpid())
    first.wait()
    assert heard.take() == (
        ["shop: a never ended (schedule): it died, and b takes over"],
        ["/start"],
    )
    assert note(project).run == "b" and note(project).pid == os.getpid()


def test_a_run_of_another_host_holds_the_lock_but_may_begin_again_itself(
    project: Project, heard: Heard
) -> None:
    """As the second pod of a Kubernetes Job does, and a flow run that somebody retries: by the same name."""
    begin(project, "kubernetes:churn-retrain-1", "schedule", pid=1)
    state = open_state(project)
    text, tag = state.read(retraining.NOTE)
    assert state.swap(retraining.NOTE, json.dumps(json.loads(text) | {"host": "another", "pid": 2**22}), tag)
    with pytest.raises(Busy):
        begin(project, "b", "schedule", os.getpid())
    begin(project, "kubernetes:churn-retrain-1", "schedule", os.getpid())
    assert "takes over" in heard.take()[0][-1]


def test_who_does_not_have_the_lock_does_not_give_it_back(project: Project, heard: Heard) -> None:
    begin(project, "a", "schedule")
    end(project, "b", 1)
    assert not note(project).ended
    end(project, "a", 0)
    assert note(project).ended and note(project).code == 0


def test_a_state_that_cannot_be_reached_is_reported(
    project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_URI", "file:///dev/null/state")
    with pytest.raises(RegistryError):
        begin(project, "a", "schedule")
    ((text,), _) = heard.take()
    assert "retraining (schedule) was not begun: " in text


# The cooldown


def test_of_many_events_at_once_one_starts_a_retraining(project: Project) -> None:
    code = "import sys\nfrom lifecycle.automation.retraining import cooldown\n"
    code += "with cooldown(project, sys.argv[1]): print('started')"
    started = [python(code, f"event {number}") for number in range(6)]
    output = [process.communicate() for process in started]
    assert sorted(out for out, _ in output) == [*[""] * 5, "started\n"], output
    assert all("Busy" in error for out, error in output if not out)


def test_the_cooldown_is_claimed_by_a_start_and_given_back_by_one_that_fails(project: Project) -> None:
    with pytest.raises(OSError), cooldown(project, "new data"):
        raise OSError
    assert note(project) == Note()
    with cooldown(project, "new data"):
        pass
    asked = note(project).asked
    with (
        pytest.raises(Busy, match=r"skipped: drift: the last start was 0 min ago \(new data\)"),
        cooldown(project, "drift"),
    ):
        pass
    begin(project, "a", "new data")
    assert note(project).asked == asked, "where it was claimed"
    with pytest.raises(Busy, match="a has retrained for 0 min"), cooldown(project, "drift"):
        pass
    end(project, "a", 0)
    begin(project, "b", "schedule")
    assert note(project).asked > asked, "a person and the schedule are not held back, and hold others back"


def test_a_clock_that_was_wrong_does_not_block_for_ever(project: Project, heard: Heard) -> None:
    """A host whose clock is days ahead claims a start, begins and ends; or begins and dies."""
    ahead, state = time.time() + 40 * 3600, open_state(project)
    for wrong in (
        Note("drift", asked=ahead),
        Note("drift", asked=ahead, run="a", begun=ahead, ended=ahead + 60, host="other"),
        Note("drift", asked=ahead, run="a", begun=ahead, host="other"),
    ):
        _, tag = Note.read(state)
        assert state.swap("retraining", json.dumps(asdict(wrong)), tag)
        with cooldown(project, "new data"):
            assert note(project).reason == "new data"
    _, tag = Note.read(state)
    soon = Note("drift", asked=time.time(), run="b", begun=time.time() + 60, host="other")
    assert state.swap("retraining", json.dumps(asdict(soon)), tag)
    with pytest.raises(Busy, match="b has retrained"):
        begin(project, "c", "drift")
    end(project, "b", 0)
    assert not note(project).running(settings.load(project).retrain, time.time()), (
        "it ended, on another clock"
    )


def test_the_cooldown_ends(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFECYCLE_RETRAIN__COOLDOWN_HOURS", "0")
    for _ in range(2):
        with cooldown(project, "new data"):
            pass
    assert settings.load(project).retrain.cooldown_hours == 0


# A whole retraining, without DVC

STEPS = """
import os, pathlib, sys
from lifecycle.errors import GateRejected
done = pathlib.Path(os.environ["LIFECYCLE_PROJECT"]) / "done"
def log(name):
    with done.open("a") as file: file.write(name + " ")
def ingest(project): log("ingest"); return "ingested"
def validate(project): log("validate"); return "validated"
def train(project):
    log("train")
    {trouble}
    return "trained"
def evaluate(project): log("evaluate"); return "evaluated"
def register(project): log("register"); return "registered"
"""
TWICE = 'if done.read_text().count("train") < 3: raise OSError("the source had a moment")'


def pipeline(project: Project, trouble: str) -> Project:
    """Give the project another pipeline.py, whose train has a trouble."""
    (project.root / "src" / project.package / "pipeline.py").write_text(STEPS.replace("{trouble}", trouble))
    sys.modules.pop(f"{project.package}.pipeline", None)
    return project


def steps(project: Project) -> list[str]:
    return (project.root / "done").read_text().split()


def test_the_steps_run_in_their_order(
    project: Project, heard: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retrain(pipeline(project, ""), "a", "by hand", dvc=False) == 0
    assert steps(project) == ["ingest", "validate", "train", "evaluate", "register"] == list(retraining.STEPS)
    assert "✓ train     trained\n" in capsys.readouterr().out
    assert heard.take() == ([], ["/start", ""])
    assert note(project).ended and note(project).pid == os.getpid()


def test_a_step_fails_twice_and_then_works(
    project: Project, heard: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retrain(pipeline(project, TWICE), "a", "by hand", dvc=False) == 0
    assert steps(project) == ["ingest", "validate", *["train"] * 3, "evaluate", "register"]
    assert heard.take() == (["shop: train failed with exit code 1"] * 2, ["/start", ""])
    text = capsys.readouterr().out
    assert "2 attempts are left" in text and "1 attempts are left" in text


def test_a_step_that_fails_each_time(project: Project, heard: Heard) -> None:
    assert retrain(pipeline(project, "raise OSError"), "a", "by hand", dvc=False) == 1
    alerts, beats = heard.take()
    assert alerts[:3] == ["shop: train failed with exit code 1"] * 3
    assert "a failed (exit code 1)" in alerts[3] and beats == ["/start", "/fail"]
    assert note(project).ended and note(project).code == 1


def test_what_a_person_has_to_look_at_is_not_tried_again(project: Project, heard: Heard) -> None:
    pipeline(project, 'raise GateRejected("the candidate is not better")')
    assert retrain(project, "a", "by hand", dvc=False) == 5
    assert steps(project) == ["ingest", "validate", "train"]
    assert "a failed (exit code 5)" in heard.take()[0][-1]


def test_a_run_that_is_ended_gives_the_lock_back(project: Project, heard: Heard) -> None:
    """As Kubernetes ends a job at its deadline: by SIGTERM."""
    pipeline(project, "import time; log('hangs'); time.sleep(600)")
    words = [sys.executable, "-m", "lifecycle.cli", "retrain", "--no-dvc", "--run", "a"]
    env = os.environ | {"PYTHONPATH": str(project.root / "src")}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=env) as running:
        while "hangs" not in until(project.root / "done"):
            time.sleep(0.02)
        running.terminate()
        assert running.wait(PATIENCE) == 143
    alerts, beats = heard.take()
    assert "a failed" in alerts[-1] and beats == ["/start", "/fail"] and note(project).ended


# Steps by DVC


def with_dvc(project: Project, **commands: str) -> Project:
    """Give the project a dvc.yaml with these commands as its stages."""
    subprocess.run(
        [Path(sys.executable).with_name("dvc"), "init", "-q", "--no-scm"], cwd=project.root, check=True
    )
    stages = {name: {"cmd": command, "always_changed": True} for name, command in commands.items()}
    (project.root / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    return project


def test_dvc_runs_all_steps_or_one_and_a_failure_is_named(
    project: Project, heard: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    with_dvc(project, ingest="echo got the data", train="exit 8")
    assert run_step(project, "ingest", attempt=2) == 0
    assert "got the data" in capsys.readouterr().out
    assert run_step(project) == 8
    assert heard.take()[0] == [
        "shop: ingest is tried again: attempt 2",
        "shop: train failed with exit code 8",
    ]
    assert retrain(project, "a", "by hand") == 8, "for people: one attempt"
    assert "attempts are left" not in capsys.readouterr().out


def test_a_step_that_hangs_is_stopped_at_the_limit(
    project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_RETRAIN__LIMIT_MINUTES", "0.5")
    monkeypatch.setenv("LIFECYCLE_RETRAIN__RETRIES", "0")
    with_dvc(project, ingest="echo $$ >pid; exec sleep 600")
    assert retrain(project, "a", "by hand") == 124
    process = int((project.root / "pid").read_text())
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists(), "nothing of it is left"
    alerts, beats = heard.take()
    assert "retraining was stopped: retrain.limit_minutes is 0.5" in alerts[0]
    assert "a failed (exit code 124)" in alerts[1] and beats == ["/start", "/fail"]


def test_a_killed_retraining_is_taken_over_by_the_next(project: Project, heard: Heard) -> None:
    """With all that it runs, as the kernel or a person kills: no signal that could be caught."""
    with_dvc(project, ingest="[ -e fixed ] || { echo $$ >pid; exec sleep 600; }")
    words = [sys.executable, "-m", "lifecycle.cli", "retrain", "--run", "cron@host"]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
    line = [int(until(project.root / "pid"))]
    while line[-1] != first.pid:
        line.append(int(Path(f"/proc/{line[-1]}/stat").read_text().rpartition(")")[2].split()[1]))
    with pytest.raises(Busy, match="cron@host has retrained for 0 min"):
        retrain(project, "cron@host", "schedule")
    heard.take()
    (project.root / "fixed").touch()
    for process in reversed(line):
        os.kill(process, signal.SIGKILL)
    first.wait()
    assert retrain(project, "cron@host", "schedule") == 0
    alerts, beats = heard.take()
    assert "never ended (by hand): it died" in alerts[0]
    # DVC may find what its killed process left: then the second attempt goes on.
    assert alerts[1:] in ([], ["shop: dvc failed with exit code 255"])
    assert beats == ["/start", ""]
