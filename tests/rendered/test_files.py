"""A file is counted as requests are, in a stream, and refused as validate refuses it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
import pytest
from pyarrow.parquet import ParquetWriter

from lifecycle import columns
from lifecycle.errors import DataError
from lifecycle.monitoring import files
from lifecycle.monitoring.profile import PREDICTION, Profile

CHECKS: dict[str, Any] = {
    "x": pa.Column(float, pa.Check.in_range(-9, 9), nullable=True),
    "n": pa.Column(int, pa.Check.ge(0)),
    "c": pa.Column(str, pa.Check.isin(["a", "b"]), nullable=True),
    "flag": pa.Column(bool),
    "at": pa.Column("datetime64[us]"),
    "y": pa.Column(float),
}


def schema_of(**changed: Any) -> Any:
    return SimpleNamespace(
        SCHEMA=pa.DataFrameSchema(CHECKS | changed, coerce=True, strict="filter"),
        TARGET="y",
        TASK="regression",
        TIME="at",
        MAX_NULL_RATE=0.2,
    )


def draw(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
            "n": random.integers(0, 9, rows),
            "c": random.choice(["a", "b", None], rows, p=[0.5, 0.4, 0.1]),
            "flag": random.random(rows) < 0.3,
            "at": pd.date_range("2026-01-01", periods=rows, freq="s").astype("datetime64[us]"),
            "y": 1.0,
            "more": "not declared",
        }
    )
    return frame


class Sum:
    """Predicts x + n, on whatever rows it is asked."""

    def __init__(self, schema: Any) -> None:
        self.schema = columns.describe(schema)

    def predict_arrays(self, arrays: columns.Arrays) -> np.ndarray:
        return np.nan_to_num(arrays["x"]) + arrays["n"]


def test_a_file_counts_as_its_rows_do(tmp_path: Path) -> None:
    schema, frame = schema_of(), draw(120_000)
    predictor: Any = Sum(schema)
    arrays = columns.from_frame(frame, predictor.schema.columns)
    reference = Profile.build(arrays, predictor.predict_arrays(arrays), predictor.schema)
    frame.to_parquet(tmp_path / "f.parquet")
    found = files.count(tmp_path / "f.parquet", predictor, reference, schema)
    sampled = found.features.pop(PREDICTION)
    expected = reference.to_dict()["features"]
    predictions = np.array(expected.pop(PREDICTION)["counts"]) / 120_000
    assert (found.features, found.rows) == (expected, 120_000)
    assert sum(sampled["counts"]) == 20_000
    assert np.abs(np.array(sampled["counts"]) / 20_000 - predictions).max() < 0.01


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [("x", 99.0, "in_range"), ("c", "z", "isin"), ("n", -1, "greater"), ("c", None, "%")],
)
def test_a_file_that_breaks_the_schema_is_refused(tmp_path: Path, column: str, value: Any, says: str) -> None:
    schema, frame = schema_of(), draw(60_000)
    predictor: Any = Sum(schema)
    arrays = columns.from_frame(frame, predictor.schema.columns)
    reference = Profile.build(arrays, predictor.predict_arrays(arrays), predictor.schema)
    frame.loc[slice(50_000, None) if value is None else 59_000, column] = value
    frame.to_parquet(tmp_path / "f.parquet")
    with pytest.raises(DataError, match=says):
        files.count(tmp_path / "f.parquet", predictor, reference, schema)


def test_a_check_of_another_kind_is_not_passed_over(tmp_path: Path) -> None:
    even = schema_of(n=pa.Column(int, [pa.Check.ge(0), pa.Check(lambda n: n % 2 == 0, name="even")]))
    assert files.is_plain(schema_of().SCHEMA) and not files.is_plain(even.SCHEMA)
    for strict in (pa.Check.gt(0), pa.Check.in_range(0, 9, include_max=False), pa.Check.str_matches("a")):
        assert not files.is_plain(schema_of(n=pa.Column(int, strict)).SCHEMA)
    frame, predictor = draw(100), Sum(even)
    arrays = columns.from_frame(frame, predictor.schema.columns)
    reference = Profile.build(arrays, predictor.predict_arrays(arrays), predictor.schema)
    frame.to_parquet(tmp_path / "f.parquet")
    loose: Any = predictor
    with pytest.raises(DataError, match="even"):
        files.count(tmp_path / "f.parquet", loose, reference, even)


def test_what_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.parquet").write_text("x,n\n1,2\n")
    predictor: Any = Sum(schema_of())
    with pytest.raises(DataError, match="cannot be read"):
        files.count(tmp_path / "f.parquet", predictor, Profile({}, 0, []), schema_of())


PEAK = """
import re, sys
from pathlib import Path
from types import SimpleNamespace
import test_files as t
schema = t.wide()
predictor = SimpleNamespace(schema=t.columns.describe(schema), predict_arrays=lambda arrays: arrays["x0"])
columns = {f"x{i}": t.np.arange(100.0) for i in range(10)}
reference = t.Profile.build(columns, columns["x0"], predictor.schema)
assert t.files.count(Path(sys.argv[1]), predictor, reference, schema).rows == int(sys.argv[2])
print(re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[0])
"""


def wide() -> Any:
    declared = {f"x{i}": pa.Column(float) for i in range(10)} | {"y": pa.Column(float)}
    facts = {"TARGET": "y", "TASK": "regression", "TIME": None, "MAX_NULL_RATE": 0.2}
    return SimpleNamespace(SCHEMA=pa.DataFrameSchema(declared), **facts)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Two million rows of ten numbers are 160 MB; the peak grows by less than a quarter of that."""
    table = pyarrow.table({f"x{i}": np.random.default_rng(i).normal(size=100_000) for i in range(10)})
    peaks = []
    for rows in (200_000, 2_000_000):
        path = tmp_path / f"{rows}.parquet"
        with ParquetWriter(path, table.schema) as writer:
            for _ in range(rows // 100_000):
                writer.write_table(table, row_group_size=100_000)
        command = [sys.executable, "-c", PEAK, str(path), str(rows)]
        search = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        env = os.environ | {"PYTHONPATH": search}
        peaks.append(int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 40_000, peaks
