"""What a registry's acts cost with 10, 1,000 and 10,000 versions in it.

--kind is one of those of tests/registry/support.py. A server is named as users name it: MLFLOW_TRACKING_URI,
REGISTRY_URI, AWS_…; else the registry is in a new folder.

    uv run python benchmarks/registry.py --kind mlflow-sqlite
"""

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "template/vendor/lifecycle/src")]
from registry.support import (  # noqa: E402
    CEPH,
    FOLDER,
    SERVER,
    SQLITE,
    START,
    VARIABLES,
    Place,
    hook,
    make_candidate,
    make_place,
)

ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[10, 1_000, 10_000])
    parser.add_argument("--kind", choices=[FOLDER, SQLITE, SERVER, CEPH], default=FOLDER)
    options = parser.parse_args()
    print("| store | versions | publish | fetch | promote | rollback | list | calls of a promote |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {key: os.environ[key] for key in VARIABLES if key in os.environ}
        place = make_place(options.kind, folder / "project", env=env)
        registry = place.open()
        first, second = (registry.publish(make_candidate(folder / f"c{n}", 20_000 + n)) for n in range(2))
        registry.promote(first, "production", "Ada", "")
        have = 2
        for size in options.sizes:
            fill(place, registry, second, have, size)
            have = size
            cells = measure(registry, place, folder, size, first, second)
            print(f"| {place.kind} | {size:,} | " + " | ".join(cells) + " |", flush=True)


def fill(place: Place, registry: Any, like: str, have: int, size: int) -> None:
    """Add versions without the cost of making them: the same files under other names."""
    names = [f"{START + timedelta(hours=number):%Y%m%dT%H%M%SZ}-{number:08x}" for number in range(have, size)]
    if place.kind == SQLITE:
        fill_sqlite(place, names)
        return
    for version in names:
        if place.is_mlflow:
            stored = registry.find(like)
            tags = stored.tags | {"lifecycle.version": version}
            registry.create(stored.name, stored.source, stored.run_id, tags)
        else:
            for name in registry._names(like):
                found = registry._store.read(f"models/{like}/{name}")
                registry._store.swap(f"models/{version}/{name}", found[0])


def fill_sqlite(place: Place, names: list[str]) -> None:
    """Copy rows: MLflow itself would take minutes for thousands of versions."""
    model = place.project.name
    with closing(sqlite3.connect(place.project.root / "mlflow.db")) as tables, tables:
        query = "SELECT * FROM model_versions WHERE name = ? ORDER BY version DESC LIMIT 1"
        found = tables.execute(query, (model,))
        columns = [column[0] for column in found.description]
        row = dict(zip(columns, found.fetchone(), strict=True))
        marks = ", ".join("?" * len(columns))
        for name in names:
            row["version"] += 1
            tables.execute(f"INSERT INTO model_versions VALUES ({marks})", list(row.values()))
            tag = (model, row["version"], "lifecycle.version", name)
            tables.execute(
                "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)", tag
            )


def measure(registry: Any, place: Place, folder: Path, size: int, first: str, second: str) -> list[str]:
    counter = iter(range(10_000))

    def candidate() -> Path:
        return make_candidate(folder / uuid.uuid4().hex, 30_000 + size + next(counter))

    candidates = [candidate() for _ in range(ROUNDS)]
    cells = [timed(lambda n: registry.publish(candidates[n]))]
    cells.append(timed(lambda n: registry.fetch(first, folder / "model")))
    moves: dict[str, list[float]] = {"promote": [], "rollback": []}
    for _ in range(ROUNDS):
        for name, words in (("promote", (second, "production")), ("rollback", ("production",))):
            start = time.perf_counter()
            getattr(registry, name)(*words, "Ada", "benchmark")
            moves[name].append(time.perf_counter() - start)
    cells += [milliseconds(times) for times in moves.values()]
    cells.append(timed(lambda n: registry.versions(), 3))
    calls: list[str] = []
    counted = hook(place.open(), calls.append)
    counted.promote(second, "production", "Ada", "")
    registry.rollback("production", "Ada", "")
    return [*cells, str(len(calls))]


def timed(act: Callable[[int], Any], rounds: int = ROUNDS) -> str:
    times = []
    for number in range(rounds):
        start = time.perf_counter()
        act(number)
        times.append(time.perf_counter() - start)
    return milliseconds(times)


def milliseconds(times: list[float]) -> str:
    return f"{statistics.median(times) * 1000:,.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
