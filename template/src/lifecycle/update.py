"""Pull what is new in the template, on a branch; say what a person must look at: docs/runbooks/update.md."""

import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import yaml

from . import errors, tools
from .errors import LifecycleError

COPIER = "9.19.1"
ANSWERS = Path(".copier-answers.yml")
YOURS = ("project_name", "package", "task")  # what these say stands in files that an update never touches
CURRENT = ":current:"  # as Copier calls the version that the project has


@click.command()
@click.argument("answers", nargs=-1, metavar="[QUESTION=ANSWER]...")
@click.option("--to", help="A release of the template; else the newest, or with answers the present one.")
def update(answers: tuple[str, ...], to: str | None) -> None:
    """Update to a new release of the template, or change an answer, on a branch of its own."""
    kept = _answers()
    _check(answers, kept)
    _refuse_uncommitted()
    uv = tools.uv()  # before anything is changed
    home = _git("symbolic-ref", "--quiet", "--short", "HEAD").strip()
    branch = f"update-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    back = (
        f"git add -A && git reset --hard --quiet && git switch {shlex.quote(home)} && git branch -D {branch}"
    )
    _git("switch", "--quiet", "--create", branch)
    try:
        ref = to or (CURRENT if answers else None)
        told = ["--defaults", *([f"--vcs-ref={ref}"] if ref else []), *(f"--data={each}" for each in answers)]
        _copier(uv, "update", "--quiet", *told, "--conflict=inline", ".")
        lost = _edited(uv, kept, _names("--diff-filter=D", "HEAD"))
    except BaseException:
        subprocess.run(back, shell=True, capture_output=True, check=False)
        raise
    if not _git("status", "--porcelain"):
        subprocess.run(back, shell=True, capture_output=True, check=True)
        errors.done("there is nothing new")
        return
    _tell(kept, branch, lost)
    _judge(home, branch, back)


def _judge(home: str, branch: str, back: str) -> None:
    """Name the conflicts; without any, run the checks."""
    conflicts = _names("--diff-filter=U")
    for name in conflicts:
        places = Path(name).read_text(encoding="utf-8").count("<<<<<<< before updating")
        click.echo(f"  in conflict, {places} place{'s' * (places > 1)}: {name}")
    failed = not conflicts and subprocess.run(["make", "setup", "check"], check=False).returncode
    click.echo(f"to look at it:  git diff\nto go back:     {back}")
    if conflicts:
        told = f"files in conflict: {len(conflicts)}"
        raise LifecycleError(told, "mend them, git add them, then: make setup check")
    if failed:
        raise LifecycleError("make check fails after the update", f"mend it on {branch}, or go back")
    errors.done(f"updated; to keep it: git add -A && git commit, then merge {branch} into {home}")


def _answers() -> dict[str, Any]:
    if not ANSWERS.is_file():
        raise LifecycleError(f"{ANSWERS} is not here", "run the command from the project's root folder")
    return yaml.safe_load(ANSWERS.read_text(encoding="utf-8"))


def _check(answers: tuple[str, ...], kept: dict[str, Any]) -> None:
    """Refuse what Copier would take without a word: an unknown question, one whose answer your files hold."""
    asked = [name for name in kept if not name.startswith("_")]
    for answer in answers:
        name, equals, _ = answer.partition("=")
        if not equals or name not in asked:
            raise LifecycleError(f"{answer}: no such question", f"there are: {', '.join(asked)}")
        if name in YOURS:
            raise LifecycleError(
                f"{name} stands in files of your own, which an update never touches",
                "start another project with that answer, and move your files there",
            )


def _refuse_uncommitted() -> None:
    try:
        changed = _git("status", "--porcelain").splitlines()
        _git("rev-parse", "--verify", "--quiet", "HEAD")
        _git("symbolic-ref", "--quiet", "HEAD")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        raise LifecycleError(
            "an update needs git, a commit and a branch", "git init && git add -A && git commit, then again"
        ) from error
    if changed:
        raise LifecycleError(
            "not committed:\n" + "\n".join(changed),
            "commit it, or git stash -u, so that an update can be undone",
        )


def _edited(uv: str, kept: dict[str, Any], gone: list[str]) -> list[str]:
    """Return those of the files that the update deleted which are not as the template wrote them."""
    if not gone:
        return []
    with TemporaryDirectory() as folder:
        given = Path(folder, "answers.yml")
        given.write_text(yaml.safe_dump({k: v for k, v in kept.items() if not k.startswith("_")}), "utf-8")
        told = ["--quiet", "--defaults", f"--vcs-ref={kept['_commit']}", f"--data-file={given}"]
        _copier(uv, "copy", *told, kept["_src_path"], f"{folder}/was")
        return [
            name
            for name in gone
            if _git("hash-object", f"{folder}/was/{name}") != _git("rev-parse", f"HEAD:./{name}")
        ]


def _tell(kept: dict[str, Any], branch: str, lost: list[str]) -> None:
    now = _answers()
    click.echo(f"on the branch {branch}: {kept.get('_commit')} → {now.get('_commit')}")
    for name, value in now.items():
        if not name.startswith("_") and kept.get(name) != value:
            click.echo(f"  {name}: {kept.get(name, 'not asked before')} → {value}")
    if lost:
        click.echo("the template drops files that you changed; your text is kept in git:")
    for name in lost:
        click.echo(f"  git show {_git('rev-parse', '--short', 'HEAD').strip()}:{name}")


def _copier(uv: str, *words: str) -> None:
    run = [uv, "tool", "run", "--quiet", f"copier=={COPIER}", *words]
    done = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise LifecycleError(
            f"Copier says: {said[-1]}", "nothing was changed; mend it and run the command again"
        )


def _names(*words: str) -> list[str]:
    return [name for name in _git("diff", "--name-only", "--relative", "-z", *words).split("\0") if name]


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout
