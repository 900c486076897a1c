"""The crontab block: installed once, removed without a trace, and jobs that speak only of trouble."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from conftest import Project
from services.troubles import with_environment

pytestmark = [pytest.mark.slow, pytest.mark.cron]


def crontab(*words: str, text: str | None = None) -> str:
    assert shutil.which("crontab"), "cron is not installed: sudo sh scripts/debian.sh cron"
    done = subprocess.run(["crontab", *words], input=text, capture_output=True, text=True, check=False)
    return done.stdout


@pytest.fixture
def someones_crontab() -> Iterator[str]:
    """The account's own crontab, with a line of somebody else's; put back afterwards."""
    before = crontab("-l")
    theirs = "7 7 * * * echo theirs\n"
    crontab("-", text=theirs)
    yield theirs
    crontab("-", text=before)


def cron(project: Project, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(project.path / "orchestration/cron.sh"), *words]
    cron_path = {
        "PATH": "/usr/bin:/bin",
        "HOME": os.environ["HOME"],
        "PYTHONPATH": project.environment()["PYTHONPATH"],
    }
    return subprocess.run(command, env=cron_path | env, capture_output=True, text=True, check=False)


def test_install_twice_and_remove_leave_the_rest_alone(trained_copy: Project, someones_crontab: str) -> None:
    for _ in range(2):
        assert cron(trained_copy, "install").returncode == 0
        lines = crontab("-l").splitlines()
        assert lines[0] == someones_crontab.strip()
        jobs = [line for line in lines if "cron.sh" in line]
        assert [line.split()[-1] for line in jobs] == ["retrain", "drift"]
    assert cron(trained_copy, "remove").returncode == 0
    assert crontab("-l") == someones_crontab


def test_jobs_print_trouble_only_and_log_everything(trained_copy: Project) -> None:
    with_environment(trained_copy)
    quiet = cron(trained_copy, "drift")
    assert (quiet.returncode, quiet.stdout) == (0, ""), quiet.stderr
    log = trained_copy.path / "artifacts/cron.log"
    assert "drift: exit code 3" in log.read_text() and "insufficient data" in log.read_text()

    assert cron(trained_copy, "retrain").stdout == ""
    trained_copy.edit("src/churn/data.py", "return rows", "return rows.iloc[:0]; rows")
    loud = cron(trained_copy, "retrain")
    assert loud.returncode != 0 and "no rows" in loud.stdout


def test_a_check_that_hangs_is_not_joined(trained_copy: Project) -> None:
    with_environment(trained_copy)
    lock = trained_copy.path / "artifacts/drift.lock"
    with subprocess.Popen(
        ["flock", str(lock), "sh", "-c", "echo held; exec sleep 60"], stdout=subprocess.PIPE
    ) as held:
        assert held.stdout and held.stdout.readline() == b"held\n"
        second = cron(trained_copy, "drift")
        held.terminate()
    assert (second.returncode, second.stdout) == (0, ""), "no news"
    assert "drift: exit code 75" in (trained_copy.path / "artifacts/cron.log").read_text()


def test_a_run_that_is_still_going_on_is_not_joined(trained_copy: Project) -> None:
    """By the lock of the loop, which holds on all hosts: it is this process that retrains."""
    with_environment(trained_copy)
    trained_copy.lifecycle("begin", "--run", "by hand", "--pid", str(os.getpid()))
    second = cron(trained_copy, "retrain")
    assert (
        second.returncode == 75 and "by hand has retrained for 0 min, and is still going on" in second.stdout
    )
    trained_copy.lifecycle("end", "--run", "by hand", "--code", "0")
    assert cron(trained_copy, "retrain").returncode == 0
