"""Updates a project to a new release of the template, on a branch of its own: docs/runbooks.md."""

import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import yaml

from . import console, tools, vendored
from .errors import LifecycleError
from .project import Project
from .vendored import git

COPIER = "9.19.1"
CHANGED = ("diff", "--name-only", "--relative", "-z")
FIXED = ("project_name", "package", "task")  # answers in your own files, which an update never touches


def update(project: Project, changes: tuple[str, ...], to: str | None) -> None:
    """Update the project on a new branch to the release `to` (None: the newest), then run its checks.

    changes: of answers, each QUESTION=ANSWER; with them and without `to`, the release stays as it is.
    Raises LifecycleError, with nothing changed, if an update could lose something; or with the way back
    printed, if files are in conflict or a check fails.
    """
    before, new = _answers(project), ""
    _refuse(project, before, changes)
    home = shlex.quote(git(project.root, "symbolic-ref", "--short", "HEAD").strip())
    branch = f"update-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    back = f"git add -A && git reset --hard --quiet && git switch {home} && git branch -D {branch}"
    words = [f"--vcs-ref={to or ':current:'}"] if to or changes else []
    git(project.root, "switch", "--quiet", "--create", branch)
    try:
        _copier(project, "update", *words, *(f"--data={each}" for each in changes), "--conflict=inline", ".")
        dropped = _dropped_edits(project, before)
        new = git(project.root, "status", "--porcelain")
    finally:
        if not new:
            subprocess.run(back, shell=True, cwd=project.root, capture_output=True, check=False)
    if not new:
        return console.done("there is nothing new")
    _report_and_check(project, before, back, dropped)
    console.done(f"updated; to keep it: git add -A && git commit, then merge {branch} into {home}")


def _answers(project: Project) -> dict[str, Any]:
    file = project.root / ".copier-answers.yml"
    if not file.is_file():
        raise LifecycleError(f"{file} is not here", "run the command from the project's root folder")
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _refuse(project: Project, before: dict[str, Any], changes: tuple[str, ...]) -> None:
    """Refuse what Copier would accept silently, and an update that could not be undone."""
    asked = [name for name in before if not name.startswith("_")]
    for change in changes:
        name, equals, _ = change.partition("=")
        if not equals or name not in asked:
            raise LifecycleError(f"{change}: no such question", f"there are: {', '.join(asked)}")
        if name in FIXED:
            why = f"{name} stands in files of your own, which an update never touches"
            raise LifecycleError(why, "start another project with that answer, and move your files there")
    vendored.refuse_changes(project)
    try:
        uncommitted = git(project.root, "status", "--porcelain")
        git(project.root, "rev-parse", "--verify", "--quiet", "HEAD")
        git(project.root, "symbolic-ref", "--quiet", "HEAD")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        way = "git init && git add -A && git commit, then again"
        raise LifecycleError("an update needs git, a commit and a branch", way) from error
    if uncommitted:
        raise LifecycleError(f"not committed:\n{uncommitted.rstrip()}", "commit it, or: git stash -u")


def _dropped_edits(project: Project, before: dict[str, Any]) -> list[str]:
    """Return the files that the update deleted although they were not as the template wrote them."""
    found = git(project.root, *CHANGED, "--diff-filter=D", "HEAD").split("\0")[:-1]
    gone = [name for name in found if not name.startswith(f"{vendored.FOLDER}/")]
    if not gone:
        return []
    with TemporaryDirectory() as folder:
        given, was = Path(folder, "answers.yml"), f"{folder}/was"
        given.write_text(yaml.safe_dump({k: v for k, v in before.items() if k[0] != "_"}), encoding="utf-8")
        at = f"--vcs-ref={before['_commit']}"
        _copier(project, "copy", at, f"--data-file={given}", before["_src_path"], was)
        written = {name: git(project.root, "hash-object", f"{was}/{name}") for name in gone}
    return [name for name in gone if written[name] != git(project.root, "rev-parse", f"HEAD:./{name}")]


def _report_and_check(project: Project, before: dict[str, Any], back: str, dropped: list[str]) -> None:
    """Print what changed and what is in conflict; without a conflict, run the project's checks."""
    now, library = _answers(project), project.root / vendored.FOLDER
    if now.get("library") == "dependency" and library.is_dir():  # Copier leaves its caches
        shutil.rmtree(library if any(p != library for p in library.parent.iterdir()) else library.parent)
    click.echo(f"on the branch {back.split()[-1]}: {before.get('_commit')} → {now.get('_commit')}")
    for name, value in now.items():
        if not name.startswith("_") and before.get(name) != value:
            click.echo(f"  {name}: {before.get(name, 'not asked before')} → {value}")
    if dropped:
        commit = git(project.root, "rev-parse", "--short", "HEAD").strip()
        click.echo("the template drops files that you changed; your text is kept in git:")
        click.echo("\n".join(f"  git show {commit}:{name}" for name in dropped))
    conflicts = git(project.root, *CHANGED, "--diff-filter=U").split("\0")[:-1]
    for name in conflicts:
        places = (project.root / name).read_text(encoding="utf-8").count("<<<<<<< before updating")
        click.echo(f"  in conflict, {places} place{'s' * (places > 1)}: {name}")
    failed = not conflicts and subprocess.run(["make", "setup", "check"], cwd=project.root).returncode
    click.echo(f"to see the changes:  git diff\nto go back:          {back}")
    if conflicts:
        way = "fix them, git add them, then: make setup check"
        raise LifecycleError(f"files in conflict: {len(conflicts)}", way)
    if failed:
        raise LifecycleError("make check fails after the update", "fix it on this branch, or go back")


def _copier(project: Project, verb: str, *words: str) -> None:
    run = [tools.uv(project), "tool", "run", "--quiet", f"copier=={COPIER}", verb, "--quiet", "--defaults"]
    done = subprocess.run([*run, *words], cwd=project.root, input="", capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise LifecycleError(f"Copier says: {reason}", "nothing was changed; fix it, run the command again")
