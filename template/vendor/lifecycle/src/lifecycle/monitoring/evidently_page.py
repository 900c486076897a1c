# /// script
# requires-python = ">=3.11"
# dependencies = ["evidently==0.7.23", "pandas<3", "pyarrow"]
# ///
"""Evidently's own tests and plots of every column of a file, to read beside the verdict of `lifecycle drift`.

uv runs it in an environment of its own (0.6 GB), because Evidently cannot have the project's pandas. It reads
both files whole and takes up to a minute, so it is for people who look, not for a schedule:
uv run --script evidently_page.py CURRENT REFERENCE schema.json PAGE
"""

import json
import sys
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

ROWS = 100_000  # of each file at most, drawn evenly: its time grows with them, its verdicts hardly change


def main(current: Path, reference: Path, schema: Path, page: Path) -> None:
    """Write the page that compares two Parquet files by the columns of a candidate's schema.json."""
    for path in (reference, schema):
        if not path.is_file():
            sys.exit(f"error: {path} is not here\n  next: make retrain")
    kinds = {column["name"]: column["kind"] for column in json.loads(schema.read_text("utf-8"))["columns"]}
    numbers = [name for name, kind in kinds.items() if kind in ("number", "integer")]
    names = [name for name, kind in kinds.items() if kind in ("category", "boolean")]
    columns = DataDefinition(numerical_columns=numbers, categorical_columns=names)
    data = [Dataset.from_pandas(read(path, numbers, names), columns) for path in (current, reference)]
    page.parent.mkdir(parents=True, exist_ok=True)
    Report([DataDriftPreset()]).run(*data).save_html(str(page))
    print(f"✓ {page}: {current} beside {reference}")


def read(path: Path, numbers: list[str], names: list[str]) -> pd.DataFrame:
    """Return what Evidently compares: numbers as floats, categories as text, times not at all."""
    try:
        frame = pd.read_parquet(path, columns=[*numbers, *names])
    except (OSError, ValueError, KeyError) as error:
        needed = ", ".join(numbers + names)
        sys.exit(f"error: {path}: {error}\n  next: a Parquet file with the columns {needed}")
    frame = frame.sample(ROWS, random_state=0) if len(frame) > ROWS else frame
    return frame.astype(dict.fromkeys(numbers, float) | dict.fromkeys(names, object))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
