"""What a registry's acts cost with 10, 1,000 and 10,000 versions in it.

Run it in a rendered project, with the tests' helpers on the path; REGISTRY_KIND is one of mlflow-sqlite,
mlflow-http, s3-file, s3-ceph, and the second and the last want --place (see tests/registry/support.py):

    cd churn && REGISTRY_KIND=s3-file PYTHONPATH=src:…/tests/registry uv run python …/benchmarks/registry.py
"""

import argparse
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

from support import KIND, MLFLOW, START, Place, hook, make_candidate

ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[10, 1_000, 10_000])
    parser.add_argument("--place", help="sqlite:///…, http://…, file://… or s3://…; else a new folder")
    sizes, given = (options := parser.parse_args()).sizes, options.place
    print("| store | versions | publish | fetch | promote | rollback | list | calls of a promote |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = given or (f"sqlite:///{folder}/mlflow.db" if MLFLOW else f"file://{folder}/registry")
        place = Place(uri, f"bench-{uuid.uuid4().hex[:6]}", folder)
        registry = place.open()
        first, second = (registry.publish(make_candidate(folder / f"c{n}", 20_000 + n)) for n in range(2))
        registry.promote(first, "production", "Ada", "")
        have = 2
        for size in sizes:
            fill(registry, second, have, size)
            have = size
            cells = measure(registry, place, folder, size, first, second)
            print(f"| {KIND} | {size:,} | " + " | ".join(cells) + " |", flush=True)


def fill(registry: Any, like: str, have: int, size: int) -> None:
    """Add versions without the cost of making them: the same files under other names, and a move for each."""
    names = [f"{START + timedelta(hours=number):%Y%m%dT%H%M%SZ}-{number:08x}" for number in range(have, size)]
    if KIND == "mlflow-sqlite":
        fill_sqlite(registry._name, names)
        return
    for version in names:
        if MLFLOW:
            stored = registry._versions.find(like)
            tags = {"lifecycle.version": version}
            registry._client.create_model_version(registry._name, stored.source, stored.run_id, tags=tags)
        else:
            for name in registry._versions.names(like):
                found = registry._store.read(f"models/{like}/{name}")
                registry._store.create(f"models/{version}/{name}", found[0])


def fill_sqlite(model: str, names: list[str]) -> None:
    """Copy rows: MLflow itself would take minutes for thousands of versions."""
    with closing(sqlite3.connect("mlflow.db")) as tables, tables:
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
