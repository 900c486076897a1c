"""Rows a second of `lifecycle score`, alone and in two pods, the cost of a restart with all done, memory.

Run it in a project rendered with deploy=kubernetes, with a version in build/model:

    cd churn && uv run lifecycle fetch --to build/model && uv run python …/benchmarks/score.py
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

FILES = 4
COMMAND = [sys.executable, "-m", "lifecycle.cli", "score"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--data", default="data/deliveries.parquet", help="rows to repeat")
    options = parser.parse_args()
    rows = pd.read_parquet(options.data)
    print("| rows, in four files | one pod | rows a second | two pods at once | a restart | memory |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            print(measure(rows, size, Path(name)), flush=True)


def measure(rows: pd.DataFrame, size: int, folder: Path) -> str:
    part = pd.concat([rows] * (size // FILES // len(rows) + 1)).head(size // FILES)
    (folder / "in").mkdir()
    for number in range(FILES):
        part.to_parquet(folder / f"in/part-{number}.parquet", index=False)
    one = score(folder, "one", 1)
    two = score(folder, "two", 2)
    again = score(folder, "one", 1)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    cells = (
        f"{size:,}",
        f"{one:.1f} s",
        f"{size / one:,.0f}",
        f"{two:.1f} s",
        f"{again:.1f} s",
        f"{memory:.0f} MB",
    )
    return "| " + " | ".join(cells) + " |"


def score(folder: Path, to: str, shards: int) -> float:
    """Score with so many processes at once, each its shard; return the seconds until the last is done."""
    env = {"MODEL_DIR": "build/model"} | os.environ | {"JOB_COMPLETIONS": str(shards)}
    command = [*COMMAND, str(folder / "in"), "--to", str(folder / to)]
    start = time.perf_counter()
    running = [
        subprocess.Popen(command, env=env | {"JOB_COMPLETION_INDEX": str(index)}, stdout=subprocess.DEVNULL)
        for index in range(shards)
    ]
    if any([process.wait() for process in running]):
        sys.exit("lifecycle score failed")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
