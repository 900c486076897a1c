"""Your data fits your schema, and what does not fit is stopped with its name."""

import numpy as np
import pandas as pd
import pytest

from lifecycle import columns, project
from lifecycle.errors import DataError
from lifecycle.steps.validate import check

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
