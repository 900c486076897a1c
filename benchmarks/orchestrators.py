"""What an orchestrator adds to `dvc repro`, and what a retraining costs that goes on at step N.

Run it in a rendered project after `make setup`, with any orchestrator; its files are left as they were:

    cd churn && uv run python …/benchmarks/orchestrators.py
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

RUN = {  # what one retraining is, without anybody's server
    "cron.sh": ["orchestration/cron.sh", "retrain"],
    "flow.py": ["orchestration/prefect.sh", "python", "orchestration/flow.py", "once"],
    "dag.py": ["orchestration/airflow.sh", "dags", "test", "{name}-retrain"],
}
DVC = ["dvc", "repro"]
RATE = "learning_rate: 0.06"  # of params.yaml: another gives another model, so that no later step is skipped


def main() -> None:
    found = next((name for name in RUN if Path("orchestration", name).is_file()), "")
    if not found:
        sys.exit("orchestration/ is not here: run it in the folder of a rendered project")
    words = [word.format(name=Path.cwd().name) for word in RUN[found]]
    package = next(path.parent for path in Path("src").glob("*/model.py"))
    if found == "dag.py":
        run(["orchestration/airflow.sh", "db", "migrate"])
    run(DVC)
    sources, params = [package / "data.py", package / "schema.py"], [Path("params.yaml")]
    print(f"| what runs | dvc repro | {found} | ratio |\n| --- | ---: | ---: | ---: |", flush=True)
    for what, files in (("all five steps", sources + params), ("train and later", params), ("nothing", [])):
        alone, by_it = (seconds(command, files) for command in (DVC, words))
        print(f"| {what} | {alone:.1f} s | {by_it:.1f} s | {by_it / alone:.1f} |", flush=True)


def seconds(command: list[str], files: list[Path]) -> float:
    """Return how long a retraining takes after the files were changed; then they are as before."""
    before = {file: file.read_text(encoding="utf-8") for file in files}
    unique = time.time_ns() % 10**9
    try:
        for file, text in before.items():
            file.write_text(text.replace(RATE, f"{RATE}{unique}") + f"# {unique}\n", encoding="utf-8")
        return timed(lambda: run(command))
    finally:
        for file, text in before.items():
            file.write_text(text, encoding="utf-8")


def timed(what: Callable[[], None]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def run(command: list[str]) -> None:
    path = os.pathsep.join([str(Path(".venv/bin").absolute()), os.environ["PATH"]])
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
