"""Where users put their own things: verbs, checks, hooks. Updates leave them alone: see test_update.py."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Project, clean_environment, git, render
from services.gitlab import TOOL

pytestmark = pytest.mark.slow

LOCAL = """check: licences

licences: ## Look at the licences
\t@echo looked at the licences

send_2-all: ## Send the figures
\t@echo sent
"""

HOOKS = '''"""Hooks of a user's."""

from pathlib import Path

from lifecycle.errors import GateRejected
from lifecycle.registry.base import Move


def before_step(step: str) -> None:
    if step == "register" and Path("artifacts/closed").exists():
        raise GateRejected("no new models in December", "wait for January")


def after_step(step: str) -> None:
    _note(f"{step} done")


def on_move(move: Move) -> None:
    _note(f"{move.action} {move.version} by {move.by}: {move.reason}")


def _note(line: str) -> None:
    with Path("artifacts/notes").open("a") as notes:
        notes.write(line + "\\n")
'''


def make(project: Path, *words: str) -> str:
    run = ["make", "--no-print-directory", *words]
    done = subprocess.run(run, cwd=project, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_verbs_and_checks_of_the_users_own(template: Path, tmp_path: Path) -> None:
    project = render(template, tmp_path / "churn")
    before = make(project)
    (project / "Makefile.local").write_text(LOCAL)
    with (project / "Makefile").open("a") as below_the_marker:
        below_the_marker.write("\nbelow: ## Below the marker\n\t@echo below\n")
    listed = make(project)
    for verb, what in {"licences": "Look at", "send_2-all": "Send the", "below": "Below the"}.items():
        assert f"make {verb:<10} {what}" in listed and verb not in before
    assert make(project, "send_2-all", "below") == "sent\nbelow\n"
    checks = make(project, "--dry-run", "check").splitlines()
    assert "echo looked at the licences" in checks[0] and "ruff check" in checks[1]


def test_gitlab_takes_the_jobs_of_a_file_of_the_users_own(template: Path, tmp_path: Path) -> None:
    project = render(template, tmp_path / "churn", ci="gitlab")
    git(project, "remote", "add", "origin", "git@gitlab.example.com:acme/churn.git")

    def jobs() -> set[str]:
        done = subprocess.run([TOOL, "--list"], cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return {line.split(" ")[0] for line in done.stdout.splitlines()}

    before = jobs()
    (project / ".gitlab").mkdir()
    (project / ".gitlab/own.yml").write_text("mine:\n  stage: check\n  script:\n    - echo mine\n")
    assert jobs() - before == {"mine"} and "check" in before


def test_hooks_run_around_steps_and_on_moves(trained_copy: Project) -> None:
    project = trained_copy
    (project.path / "src/churn/hooks.py").write_text(HOOKS)
    another = {"LIFECYCLE_MODEL__MAX_ITER": "250", "LIFECYCLE_GATE__MARGIN_OVER_LIVE": "-9"}
    for step in ("train", "evaluate", "register"):
        project.lifecycle(step, **another)
    (project.path / "artifacts/closed").touch()
    refused = project.lifecycle("register", ok=False)
    assert refused.returncode == 5
    assert "no new models in December" in refused.stderr and "wait for January" in refused.stderr
    project.lifecycle("promote", "--why", "monday", "--by", "Ada")
    notes = (project.path / "artifacts/notes").read_text().splitlines()
    assert notes[:3] == ["train done", "evaluate done", "register done"]
    assert len(notes) == 4 and notes[3].startswith("promote ") and notes[3].endswith("by Ada: monday")


def test_what_a_users_hooks_lack_is_not_called(make_project: Callable[..., Project]) -> None:
    """An empty hooks.py, and one whose import fails, which is said and not passed over."""
    project = make_project()
    hooks = project.path / "src/churn/hooks.py"
    hooks.write_text('"""Nothing yet."""\n')
    project.lifecycle("ingest")
    hooks.write_text("import no_such_module\n")
    failed = project.lifecycle("ingest", ok=False)
    assert failed.returncode == 1 and "no_such_module" in failed.stderr
