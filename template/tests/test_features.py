"""The same row gives the same inputs, alone in the server or among thousands in training."""

import json

import numpy as np
import pandas as pd

from lifecycle import columns, project
from lifecycle.steps.validate import check

ROWS_ALONE = 50


def test_one_row_alone_gives_what_it_gives_among_many(rows: pd.DataFrame, schema: columns.Schema) -> None:
    module = project.load("schema")
    valid = check(rows, module.SCHEMA, module.MAX_NULL_RATE).tail(ROWS_ALONE)
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
