"""What the command line says when the machine lacks something: an error with a next step, no traceback."""

import errno

import click
import pytest
from lifecycle.automation.checks import new_data
from lifecycle.cli import main
from lifecycle.errors import LifecycleError
from lifecycle.project import Project


@pytest.mark.parametrize(
    ("error", "says", "next_step"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "artifacts/x"),
            "artifacts/x: No space left",
            "make room",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "git"),
            "git: No such file",
            "look at that",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "registry"),
            "registry: Permission denied",
            "who may",
        ),
        (TimeoutError("timed out"), "the system: timed out", "look at"),
    ],
)
def test_an_error_of_the_system_is_told_with_a_next_step(
    error: OSError,
    says: str,
    next_step: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @click.command()
    def fails() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["lifecycle"])
    with pytest.raises(SystemExit) as end:
        main(fails)
    said = capsys.readouterr().err
    assert end.value.code == 1 and says in said and next_step in said


def test_without_dvc_the_check_says_what_to_do(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "dvc.lock").write_text("")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(LifecycleError, match="dvc is not on the PATH") as error:
        new_data(project)
    assert error.value.next_step == "make setup"
