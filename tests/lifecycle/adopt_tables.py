"""Small tables and an untrained project, for the tests of adopt."""

from pathlib import Path

import numpy as np
import pandas as pd
from lifecycle.adopt.plan import Options, Plan
from lifecycle.adopt.run import run
from lifecycle.project import Project
from projects import make_project

MODEL = (
    "model: # handed to your model.py\n  max_iter: 300\n  learning_rate: 0.06\n"  # as the template writes it
)


def fresh(root: Path) -> Project:
    """Make a project as it was rendered: nobody has edited a file, and nothing is trained."""
    project = make_project(root, "regression")
    text = f"# Settings\nsplit:\n  holdout: 0.2 # share of rows\n\n{MODEL}\ngate:\n  max_latency_ms: 1000\n"
    project.params.write_text(text)
    return project


def adopt(project: Project, file: Path, target: str = "price", force: bool = False, **more) -> Plan:
    """Adopt a file; return the plan. more: of Options."""
    return run(project, file, Options(target, **more), force)[0]


def read(project: Project, name: str) -> str:
    """Return the text of a file of the project's package."""
    return (project.root / "src" / project.package / name).read_text(encoding="utf-8")


def frame(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Return a small clean table: price follows from size and city."""
    rng = np.random.default_rng(seed)
    size, city = rng.uniform(20, 200, rows).round(1), rng.choice(["oslo", "rome", "lima"], rows)
    price = 3 * size + 50 * (city == "oslo") + rng.normal(0, 10, rows)
    rooms = rng.integers(1, 7, rows)
    return pd.DataFrame({"size": size, "rooms": rooms, "city": city, "price": price.round(2)})


def save(data: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV; return the path."""
    data.to_csv(path, index=False)
    return path


def messy(path: Path, rows: int = 400) -> Path:
    """Write what a spreadsheet in Europe exports: BOM, semicolons, decimal commas, line breaks in quotes."""
    rng = np.random.default_rng(1)
    km = rng.uniform(0.3, 25, rows).round(2)
    days = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 300 * 1440, rows), "min")
    columns = {
        "when": days.strftime("%d/%m/%Y %H:%M").where(rng.random(rows) > 0.03, "n/a"),
        "class": rng.choice(["Paris", "paris ", " PARIS", "Lyon", "Nice\nVille"], rows),
        'a"b': rng.choice(["yes", "No", "YES", "no", ""], rows),
        "mean radius": [f"{value}".replace(".", ",") for value in km],
        "größe \N{EN DASH} m²": [f"{value:,}".replace(",", ".") for value in rng.integers(1e3, 9e4, rows)],
        "zip": rng.choice(["01099", "04109", "10115"], rows),
        "guests": pd.Series(rng.integers(0, 99, rows)).astype(str).where(rng.random(rows) > 0.1, " - "),
        "currency": "EUR",
        "minutes": [f"{value:.1f}".replace(".", ",") for value in 3 * km + rng.normal(20, 1, rows)],
    }
    data = pd.DataFrame(columns)
    data.loc[::9, "mean radius"] = "?"
    data.to_csv(path, sep=";", index=False, encoding="utf-8-sig")
    return path
