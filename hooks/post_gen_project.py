"""Let Copier write the project that Cookiecutter asked about: one template, and `copier update` works later.

Cookiecutter renders this file with the answers and runs it in the new project's folder, which it deletes when
the exit code is not 0.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

CONTEXT = json.loads({{cookiecutter | jsonify | tojson}})  # noqa: F821
INSTALL = """Copier, which writes the project, is not installed beside Cookiecutter. One of these:
  uvx --with copier cookiecutter …       pipx inject cookiecutter copier       pip install copier"""
CRUFT = """cruft does not say where it keeps the template; here Copier updates projects. Use one of these:
  cookiecutter {template}       copier copy {template} {slug}"""
NO_UPDATES = "Without git history the project cannot be updated: for that, give the template's git address."
NOT_FOUND = "The template {template} is not found from here: give its whole path."


def main() -> None:
    """Write the project into the current folder."""
    if "_repo_dir" not in CONTEXT:
        told = {"template": CONTEXT.get("_template", "TEMPLATE"), "slug": CONTEXT["project_slug"]}
        sys.exit(CRUFT.format(**told))
    try:
        import copier
    except ImportError:
        sys.exit(INSTALL)
    source, commit = find()
    answers = {name: value for name, value in CONTEXT.items() if name[0] != "_" and value != ""}
    answers["project_name"] = answers.pop("project_slug")
    options = {"data": answers, "vcs_ref": commit, "defaults": True, "overwrite": True, "quiet": True}
    try:
        copier.run_copy(source, ".", **options)
    except (ValueError, copier.errors.CopierError) as error:
        sys.exit(f"error: {error}")
    if commit is None:
        print(NO_UPDATES)
        mend(source)


def mend(source: str) -> None:
    """Put right what an unpacked archive lacks: bits to execute, and a place that is still there tomorrow."""
    for path in Path(".").rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b"#!"):
            path.chmod(path.stat().st_mode | 0o111)
    if local(CONTEXT["_template"]) is None:
        file = Path(".copier-answers.yml")
        text = file.read_text(encoding="utf-8").replace(source, CONTEXT["_template"])
        file.write_text(text, encoding="utf-8")


def find() -> tuple[str, str | None]:
    """Return the template as Copier takes it, and the commit that Cookiecutter asked its questions from."""
    folder = local(CONTEXT["_repo_dir"])
    if folder is None:
        sys.exit(NOT_FOUND.format(template=CONTEXT["_template"]))
    top = git(folder, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != folder.resolve():
        return str(folder), None
    commit = git(folder, "rev-parse", "HEAD")
    if local(CONTEXT["_template"]) == folder:
        if git(folder, "status", "--porcelain"):
            print("Changes of the template that are not committed are left out.")
        return str(folder), commit
    address = git(folder, "remote", "get-url", "origin")
    known = address.startswith(("git@", "git+", "git://")) or address.endswith(".git")
    return address if known or Path(address).exists() else f"git+{address}", commit


def local(typed: str) -> Path | None:
    """Return the folder of the template; a relative path was meant from where Cookiecutter was called."""
    below = Path(CONTEXT["_output_dir"])
    for start in (Path(os.environ.get("PWD", ".")), below, *below.parents):
        folder = (start / Path(typed).expanduser()).resolve()
        if (folder / "copier.yml").is_file() and (folder / "cookiecutter.json").is_file():
            return folder
    return None


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


main()
