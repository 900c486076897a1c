"""The columns of schema.py: the rule in words, and which values it allows."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from lifecycle.data.arrays import MISSING, from_frame, from_rows, to_float32
from lifecycle.data.schema import Column, Schema, describe, kind_of
from lifecycle.files import to_json
from lifecycle.project import Project

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("facts", "values", "allowed"),
    [
        ({"kind": "number"}, [1.5, -1e300, NAN, INF, -INF], [True, True, False, False, False]),
        ({"kind": "number", "nullable": True}, [NAN, INF], [True, False]),
        ({"kind": "number", "minimum": 0, "maximum": 3}, [0, 3, -0.1, 3.1], [True, True, False, False]),
        ({"kind": "number", "allowed": [1, 2.5]}, [1, 2.5, 2, NAN], [True, True, False, False]),
        ({"kind": "integer"}, [1, 2.5, NAN, INF], [True, False, False, False]),
        ({"kind": "integer", "nullable": True, "maximum": 3}, [3, 4, NAN], [True, False, True]),
        ({"kind": "boolean"}, [0, 1, 2, NAN], [True, True, False, False]),
    ],
)
def test_which_numbers_are_allowed(facts: dict, values: list[float], allowed: list[bool]) -> None:
    column = Column(name="x", **facts)
    assert column.accepts(np.array(values, dtype=np.float64)).tolist() == allowed


@pytest.mark.parametrize("nullable", [False, True])
def test_which_texts_and_times_are_allowed(nullable: bool) -> None:
    text = np.array(["bike", "boat", MISSING], dtype=object)
    one_of = Column(name="x", kind="category", allowed=["bike", "car"], nullable=nullable)
    assert one_of.accepts(text).tolist() == [True, False, nullable]
    assert Column(name="x", kind="category", nullable=nullable).accepts(text).tolist() == [
        True,
        True,
        nullable,
    ]
    times = np.array(["2026-01-01T00:00", "NaT"], dtype="datetime64[us]")
    assert Column(name="x", kind="datetime", nullable=nullable).accepts(times).tolist() == [True, nullable]


def test_a_text_that_reads_missing_is_a_value_where_the_missing_ones_are_known() -> None:
    column = Column(name="x", kind="category")
    texts, missing = np.array([MISSING, MISSING], dtype=object), np.array([False, True])
    assert column.accepts(texts, missing).tolist() == [True, False]


def test_no_rows_are_no_problem() -> None:
    for kind, dtype in (("number", "f8"), ("category", object), ("datetime", "datetime64[us]")):
        assert Column(name="x", kind=kind).accepts(np.array([], dtype=dtype)).tolist() == []


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"kind": "number", "minimum": 0, "maximum": 30}, "number from 0 to 30"),
        ({"kind": "number", "minimum": 0}, "number from 0"),
        ({"kind": "integer", "maximum": 15, "nullable": True}, "integer up to 15, or missing"),
        ({"kind": "category", "allowed": ["a", "b"]}, "one of a, b"),
        ({"kind": "category"}, "text"),
        ({"kind": "datetime"}, "ISO 8601 time"),
    ],
)
def test_the_rule_in_words(facts: dict, rule: str) -> None:
    assert Column(name="x", **facts).rule == rule


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("float64", "number"),
        ("Int64", "integer"),
        ("uint8", "integer"),
        ("boolean", "boolean"),
        ("string[pyarrow]", "category"),
        ("object", "category"),
        ("datetime64[ns, UTC]", "datetime"),
    ],
)
def test_the_kind_of_a_type(dtype: str, kind: str) -> None:
    assert kind_of(dtype) == kind


def test_schema_py_is_described() -> None:
    declared = pa.DataFrameSchema(
        {
            "age": pa.Column("Int64", pa.Check.ge(18), nullable=True, description="Years"),
            "plan": pa.Column(str, pa.Check.isin(["free", "paid"])),
            "y": pa.Column(float, pa.Check.in_range(0, 1)),
        }
    )
    module = SimpleNamespace(TASK="regression", TARGET="y", TIME=None, SCHEMA=declared)
    schema = describe(module)
    assert schema.target == Column(name="y", kind="number", minimum=0, maximum=1)
    assert schema.columns == [
        Column(name="age", kind="integer", minimum=18, nullable=True, description="Years"),
        Column(name="plan", kind="category", allowed=["free", "paid"]),
    ]


def test_the_schema_of_a_candidate_is_read_as_it_was_written(project: Project) -> None:
    schema = Schema.read(project.candidate)
    assert to_json(schema.model_dump()) == (project.candidate / "schema.json").read_text()
    assert schema.columns == describe(project.load("schema")).columns


def test_rows_and_frames_become_the_same_arrays() -> None:
    columns = [
        Column(name="n", kind="number", nullable=True),
        Column(name="b", kind="boolean", nullable=True),
        Column(name="c", kind="category", nullable=True),
        Column(name="t", kind="datetime", nullable=True),
    ]
    frame = pd.DataFrame(
        {
            "n": [1.5, None],
            "b": pd.array([True, None], dtype="boolean"),
            "c": ["a", None],
            "t": np.array(["2026-01-01T12:00:00", "NaT"], dtype="datetime64[us]"),
        }
    )
    rows = [{"n": 1.5, "b": True, "c": "a", "t": "2026-01-01T14:00:00+02:00"}, {}]
    of_frame, of_rows = from_frame(frame, columns), from_rows(rows, columns)
    for name in of_frame:
        assert of_frame[name].dtype == of_rows[name].dtype
        np.testing.assert_array_equal(of_frame[name], of_rows[name])
    assert of_rows["c"].tolist() == ["a", MISSING]


def test_no_float32_lies_between_two_rounded_ones() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    rounded = to_float32(values)
    np.testing.assert_allclose(rounded, values, rtol=1e-6)
    assert (rounded.view(np.uint32) % 8 == 0).all()
    assert np.isnan(to_float32(np.array([NAN]))).all()
