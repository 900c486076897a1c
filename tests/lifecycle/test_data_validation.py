"""The check against schema.py names what is wrong, in frames and in Arrow batches."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pytest
from lifecycle.data.arrays import from_frame
from lifecycle.data.schema import Schema, describe
from lifecycle.data.validation import check, from_arrow, is_plain
from lifecycle.errors import DataError
from lifecycle.project import Project


@pytest.fixture
def module(project: Project) -> Any:
    return project.load("schema")


@pytest.fixture
def rows(project: Project) -> pd.DataFrame:
    return pd.read_parquet(project.raw)


@pytest.fixture
def schema(module: Any) -> Schema:
    return describe(module)


def test_data_that_fits_gets_the_types_of_the_schema(rows: pd.DataFrame, module: Any) -> None:
    valid = check(rows.astype({"items": float}).assign(other=1), module)
    assert len(valid) == len(rows)
    assert valid["items"].dtype == int and "other" not in valid


def test_a_value_out_of_range_is_named(rows: pd.DataFrame, module: Any, schema: Schema) -> None:
    ranged = [column for column in schema.columns if column.maximum is not None]
    assert ranged
    for column in ranged:
        broken, over = rows.astype({column.name: float}), (column.maximum or 0) + 1000
        broken.loc[broken.index[:3], column.name] = over
        with pytest.raises(DataError, match=r"(?s)column.*rows") as error:
            check(broken, module)
        line = next(line for line in str(error.value).splitlines() if column.name in line)
        assert f"{over:g}" in line and " 3 " in line


def test_a_missing_column_is_named(rows: pd.DataFrame, module: Any, schema: Schema) -> None:
    name = schema.columns[0].name
    with pytest.raises(DataError, match=f"{name} +the column is not in the data"):
        check(rows.drop(columns=name), module)


def test_too_many_missing_values_are_named(rows: pd.DataFrame, module: Any, schema: Schema) -> None:
    nullable = [column.name for column in schema.columns if column.nullable]
    assert nullable
    for name in nullable:
        broken = rows.assign(**{name: rows[name].where(np.arange(len(rows)) % 50 == 0)})
        with pytest.raises(DataError, match=f"{name} +98% missing"):
            check(broken, module)


def test_a_number_that_no_request_can_hold_is_named() -> None:
    module = SimpleNamespace(SCHEMA=pandera.DataFrameSchema({"x": pandera.Column(float)}), MAX_NULL_RATE=0)
    with pytest.raises(DataError, match=r"x +not finite"):
        check(pd.DataFrame({"x": [1.0, np.inf]}), module)


@pytest.mark.parametrize(
    ("column", "plain"),
    [
        (pandera.Column(float, pandera.Check.in_range(0, 1)), True),
        (pandera.Column(str, pandera.Check.isin(["a"])), True),
        (pandera.Column(float, pandera.Check.in_range(0, 1, include_max=False)), False),
        (pandera.Column(float, pandera.Check.gt(0)), False),
        (pandera.Column(str, pandera.Check.str_length(1, 3)), False),
        (pandera.Column(float, unique=True), False),
    ],
)
def test_whether_the_schema_says_all(column: pandera.Column, plain: bool) -> None:
    assert is_plain(pandera.DataFrameSchema({"x": column})) is plain


def test_arrow_becomes_what_a_frame_becomes(rows: pd.DataFrame, module: Any, schema: Schema) -> None:
    expected = from_frame(check(rows, module), schema.columns)
    batch = pa.RecordBatch.from_pandas(rows.astype({"vehicle": "category"}))
    arrays, allowed = from_arrow(batch, schema.columns)
    for name, values in expected.items():
        np.testing.assert_array_equal(arrays[name], values)
        assert allowed[name].all(), name


def test_each_wrong_value_of_a_batch_is_found(rows: pd.DataFrame, schema: Schema) -> None:
    first = pa.RecordBatch.from_pandas(rows.head(2)).to_pylist()
    wrong = {"distance_km": -1.0, "items": 2.5, "vehicle": "boat", "zone": None, "courier_months": np.inf}
    batch = pa.RecordBatch.from_pylist([first[0], {**first[1], **wrong}])
    _, allowed = from_arrow(batch, schema.columns)
    assert {name for name, values in allowed.items() if values.tolist() == [True, False]} == wrong.keys()
    assert all(values[0] for values in allowed.values())


def test_a_column_that_is_missing_or_of_another_type_is_named(rows: pd.DataFrame, schema: Schema) -> None:
    batch = pa.RecordBatch.from_pandas(rows)
    with pytest.raises(DataError, match="there is no column zone"):
        from_arrow(batch.drop_columns("zone"), schema.columns)
    with pytest.raises(DataError, match="the column zone is double, not one of centre"):
        from_arrow(pa.RecordBatch.from_pandas(rows.assign(zone=1.0)), schema.columns)


def test_times_with_a_zone_become_utc(schema: Schema) -> None:
    time = next(column for column in schema.columns if column.kind == "datetime")
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    arrays, allowed = from_arrow(pa.record_batch({time.name: [moment, None]}), [time])
    assert arrays[time.name][0] == np.datetime64("2026-01-01T12:00")
    assert allowed[time.name].tolist() == [True, False]
