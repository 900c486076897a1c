"""Your data fits your schema, and features.py gives a row alone what it gives it among many."""

import json

import numpy as np
import pandas as pd
from lifecycle.data.arrays import from_frame, from_rows
from lifecycle.data.schema import Schema
from lifecycle.data.validation import check
from lifecycle.project import Project

ROWS_ALONE = 50


def test_your_data_fits_your_schema(project: Project, rows: pd.DataFrame) -> None:
    assert len(check(rows, project.load("schema"))) == len(rows)


def test_one_row_alone_gives_what_it_gives_among_many(
    project: Project, rows: pd.DataFrame, schema: Schema
) -> None:
    build, valid = project.features.build, check(rows, project.load("schema")).tail(ROWS_ALONE)
    together = build(from_frame(valid, schema.columns))
    requests = json.loads(valid.to_json(orient="records", date_format="iso", date_unit="us"))
    for place, request in enumerate(requests):
        alone = build(from_rows([request], schema.columns))
        assert alone.keys() == together.keys()
        for name, values in alone.items():
            if values.dtype.kind in "OUS":
                assert values[0] == together[name][place], name
            else:
                np.testing.assert_allclose(values[0], together[name][place], rtol=1e-6, err_msg=name)


def test_features_leave_columns_as_they_were(project: Project, rows: pd.DataFrame, schema: Schema) -> None:
    given = from_frame(rows, schema.columns)
    before = {name: values.copy() for name, values in given.items()}
    project.features.build(given)
    assert given.keys() == before.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(given[name], values)
