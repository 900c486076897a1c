"""The crontab block: installed once, removed without a trace, and jobs that speak only of trouble."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from conftest import Project

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
    cron_path = {"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], "PYTHONPATH": str(project.path / "src")}
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


def with_environment(project: Project) -> None:
    """Give the project an environment at .venv, where cron.sh looks for it."""
    (project.path / ".venv/bin").mkdir(parents=True)
    (project.path / ".venv/bin/dvc").symlink_to(project.venv / "bin/dvc")
    lifecycle = project.path / ".venv/bin/lifecycle"
    lifecycle.write_text(f"#!{project.venv}/bin/python\nfrom lifecycle.cli import main\nmain()\n")
    lifecycle.chmod(0o755)


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


def test_a_run_that_is_still_going_on_is_not_joined(trained_copy: Project) -> None:
    with_environment(trained_copy)
    lock = trained_copy.path / "artifacts/retrain.lock"
    with subprocess.Popen(["flock", str(lock), "sleep", "30"]) as holder:
        while subprocess.run(["flock", "--nonblock", str(lock), "true"], check=False).returncode == 0:
            time.sleep(0.05)
        second = cron(trained_copy, "retrain")
        holder.terminate()
    assert second.returncode == 75 and "still going on" in second.stdout
