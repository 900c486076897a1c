"""Your data fits your schema, what does not is named, and a row alone gives what it gives among many."""

import json

import numpy as np
import pandas as pd
import pytest

from lifecycle import columns, project
from lifecycle.errors import DataError
from lifecycle.steps.validate import check

ROWS_ALONE = 50
SCHEMA, NULLS = project.load("schema").SCHEMA, project.load("schema").MAX_NULL_RATE


def test_your_data_fits(rows: pd.DataFrame) -> None:
    assert len(check(rows, SCHEMA, NULLS)) == len(rows)


def test_a_value_out_of_range_is_named(rows: pd.DataFrame, schema: columns.Schema) -> None:
    for column in schema.columns:
        if column.maximum is None:
            continue
        broken = rows.astype({column.name: float})
        broken.loc[broken.index[:3], column.name] = column.maximum + 1000
        with pytest.raises(DataError, match=r"(?s)column.*rows") as error:
            check(broken, SCHEMA, NULLS)
        assert column.name[:50] in str(error.value)


def test_a_missing_column_is_named(rows: pd.DataFrame, schema: columns.Schema) -> None:
    name = schema.columns[0].name
    with pytest.raises(DataError, match="the column is not in the data"):
        check(rows.drop(columns=name), SCHEMA, NULLS)


def test_too_many_missing_values_are_named(rows: pd.DataFrame, schema: columns.Schema) -> None:
    for column in [column for column in schema.columns if column.nullable]:
        broken = rows.copy()
        broken[column.name] = broken[column.name].where(np.arange(len(rows)) % 50 == 0)
        with pytest.raises(DataError, match="missing"):
            check(broken, SCHEMA, NULLS)


def test_one_row_alone_gives_what_it_gives_among_many(rows: pd.DataFrame, schema: columns.Schema) -> None:
    valid = check(rows, SCHEMA, NULLS).tail(ROWS_ALONE)
    together = project.features.build(columns.from_frame(valid, schema.columns))
    requests = json.loads(valid.to_json(orient="records", date_format="iso", date_unit="us"))
    for place, request in enumerate(requests):
        alone = project.features.build(columns.from_rows([request], schema.columns))
        assert alone.keys() == together.keys()
        for name, values in alone.items():
            expected = together[name][place]
            if values.dtype.kind in "OUS":
                assert values[0] == expected, name
            else:
                np.testing.assert_allclose(values[0], expected, rtol=1e-6, err_msg=name)


def test_features_leave_the_columns_as_they_were(rows: pd.DataFrame, schema: columns.Schema) -> None:
    given = columns.from_frame(rows, schema.columns)
    before = {name: values.copy() for name, values in given.items()}
    project.features.build(given)
    assert given.keys() == before.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(given[name], values)
