"""The whole life of a model in some two minutes: render a project, train, release, watch, roll back.

    python -m lean_mlops.demo [--into DIR] [--data FILE --target COLUMN [--option "--drop id" …]]

Everything that it does is a command of the rendered project, printed before it runs: type them yourself next.
"""

import argparse
import shlex
import shutil
import sys
import time
import warnings
from pathlib import Path

import copier

from .shell import Failed, Project, free_port

ROOT = Path(__file__).parents[2]
RECENT = "data/recent.parquet"
HOLDOUT = "artifacts/holdout.parquet"


def main() -> int:
    """Run the demo; returns the exit code."""
    words = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    words.add_argument("--into", type=Path, default=ROOT / "demo", help="folder for the new project")
    words.add_argument("--data", type=Path, help="your own CSV or Parquet file")
    words.add_argument("--target", help="the column to predict")
    words.add_argument("--option", default="", help="further options of `lifecycle adopt`")
    given = words.parse_args()
    if bool(given.data) != bool(given.target):
        words.error("DATA and TARGET go together: make demo DATA=my.csv TARGET=column")
    if given.data and not given.data.is_file():
        words.error(f"there is no file {given.data}")
    start = time.perf_counter()
    project = Project(_render(given))
    try:
        project.act("Set it up", "make setup")
        if given.data:
            adopt = ["lifecycle", "adopt", str(given.data.resolve()), "--target", given.target]
            project.act("Adopt your data", shlex.join(["uv", "run", *adopt]) + " " + given.option)
        _live(project, given.data is not None)
    except Failed as error:
        print(f"\n{error}\nThe project is left in {project.folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped; the project is left in {project.folder}", file=sys.stderr)
        return 130
    finally:
        project.stop_server()
    _say_goodbye(project, time.perf_counter() - start, given.data is not None)
    return 0


def _render(given: argparse.Namespace) -> Path:
    name = given.data.stem.lower() if given.data else "deliveries"
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in name).strip("-0123456789") or "model"
    name = "-".join(filter(None, name.split("-")))
    folder = given.into / name
    number = 2
    while folder.exists():
        folder, number = given.into / f"{name}-{number}", number + 1
    answers = {"project_name": folder.name, "python_version": f"3.{min(sys.version_info.minor, 13)}"}
    if name != "deliveries":
        answers["package"] = f"{folder.name.replace('-', '_')}_model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a changed checkout is fine to look at
        copier.run_copy(str(ROOT), folder, data=answers, defaults=True, quiet=True, vcs_ref="HEAD")
    return folder


def _live(project: Project, own_data: bool) -> None:
    """Train, release, serve, watch, release again and roll back."""
    port = free_port()
    project.act("Train, and let the gate judge", "make retrain")
    first = project.act("A person approves: staging → production", "make promote WHY='first release'")
    project.serve("Serve it", port)
    project.act("Ask for one prediction", f"make predict URL=http://127.0.0.1:{port}")
    traffic = HOLDOUT if own_data else RECENT
    title = "Send the newest rows as traffic" if own_data else "Three months pass: their orders come in"
    project.act(title, f"make predict URL=http://127.0.0.1:{port} FILE={traffic}")
    project.stop_server()
    project.act("Has the world moved?", "uv run lifecycle drift", expect=(0, 2, 3))
    if own_data:
        _release_a_weak_model(project)
    else:
        _learn_from_what_happened(project)
    project.act(
        "3 a.m., something is wrong: roll back", "uv run lifecycle rollback --why 'complaints at night'"
    )
    project.serve("Serve what is in production now", port)
    answer = project.act("", f"make predict URL=http://127.0.0.1:{port}")
    version = next(word for word in first.split() if word.count("Z-") == 1).strip(",")
    if version not in answer:
        raise Failed(f"{version} should be serving again, but the server says otherwise")
    project.stop_server()
    project.act("Who did what, and why", "uv run lifecycle history")


def _learn_from_what_happened(project: Project) -> None:
    files = 'FILES = ["data/deliveries.parquet"]'
    project.replace(f"src/{project.package}/data.py", files, files.replace("]", f', "{RECENT}"]'))
    project.act("Retrain on what happened since; the gate compares with the live model", "make retrain")
    project.act("Release the better one", "make promote WHY='learnt the autumn'")


def _release_a_weak_model(project: Project) -> None:
    project.replace("params.yaml", "holdout: 0.2", "holdout: 0.6")
    project.act("A weaker model, learnt from half the rows: the gate judges", "make retrain", expect=(0, 2))
    project.replace("params.yaml", "margin_over_live: 0.0", "margin_over_live: -9")
    project.replace("params.yaml", "margin_over_baseline: 0.1", "margin_over_baseline: -9")
    project.act("Open the gate, to have something to roll back", "make retrain")
    project.act("Release it all the same", "make promote WHY='a mistake, on purpose'")


def _say_goodbye(project: Project, seconds: float, own_data: bool) -> None:
    where = project.folder
    print(f"\n\033[1mDone in {seconds:.0f} s.\033[0m The project is yours to explore:\n\n  cd {where}")
    print("  make                  every verb")
    print("  make serve            then look at http://127.0.0.1:8000/docs")
    print("  make check            lint, types and the project's own tests")
    docker = "make deploy           the same on Docker: a release gated on health, then make rollback"
    print(
        f"  {docker if shutil.which('docker') else 'docs/checklist.md     what is done, and what proves it'}"
    )
    if not own_data:
        print("\nOn your own data:  make demo DATA=my.csv TARGET=column")


if __name__ == "__main__":
    sys.exit(main())
