"""What adopt infers from a file: types, ranges, categories, the task, the time; read as it was meant."""

import gzip
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from adopt_tables import frame, messy, save
from lifecycle.adopt import decide, infer, plan, read, render
from lifecycle.adopt.plan import Options
from lifecycle.data.arrays import from_frame
from lifecycle.data.validation import check


def planned(path: Path, target: str = "price", **more: Any) -> plan.Plan:
    return plan.make(read.read(path), "data/it", Options(target, **more))


def executed(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(text, names)
    return names


@pytest.mark.parametrize(
    ("low", "high", "whole", "found"),
    [
        (0.3, 25, False, (0, 29)),
        (-4.0, 4.0, False, (-5.2, 5.2)),
        (1, 12, True, (0, 14)),
        (0.1, 0.9, False, (0, 1)),
        (-3.0, -1.0, False, (-3.3, -0.7)),
        (7, 7, True, (5, 9)),
        (1e6, 2e6, False, (800_000, 2_200_000)),
        (-0.2, 0.0, False, (-0.23, 0)),
    ],
)
def test_a_range_gets_a_margin(low: float, high: float, whole: bool, found: tuple[float, float]) -> None:
    assert decide.bounds(low, high, whole) == pytest.approx(found)


@pytest.mark.parametrize(
    ("words", "kind", "reason"),
    [
        (["1", "2", "-3"], "integer", ""),
        (["1.5", "2"], "number", ""),
        (["1e-5", "2"], "number", ""),
        (["1,234.5", "2.25"], "number", "1,234.5: with a thousands separator"),
        (["1,234", "12"], "integer", "1,234: with a thousands separator"),
        (["1.234,5", "2,25"], "number", "1.234,5: decimal comma"),
        (["1 234", "12 345"], "integer", "1 234: with a thousands separator"),
        (["01099", "10115"], "category", "a code, not a number"),
        (["yes", "No"], "boolean", "no or yes"),
        (["Paris", " paris"], "category", "blanks and capitals removed"),
        (["Paris ", "Lyon"], "category", "blanks removed"),
        (["31/12/2025", "01/02/2025"], "datetime", "d/m/Y"),
        (["12/31/2025 10:00", "01/02/2025 23:59"], "datetime", "m/d/Y H:M"),
        (["3.4.25", "3.5.25"], "datetime", "d.m.y"),
        (["2025-01-01T10:00:00Z", "2025-01-02T10:00:00+02:00"], "datetime", "converted to UTC"),
        (["2025-01-01", "2025-01-02"], "datetime", "ISO8601"),
        (["", "n/a"], "category", "only missing values"),
    ],
)
def test_text_is_read_as_a_person_would(words: list[str], kind: str, reason: str) -> None:
    reading = infer.read_column(pd.Series(words), False, is_target=False, parquet=True)
    assert (reading.kind, reading.why, reading.fault) == (kind, reason, "")
    column = pd.Series(words, name="x")
    assert len(eval(reading.code.replace("{x}", "column") or "column", {"pd": pd, "column": column})) == len(
        words
    )


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (pd.Series(["a", "b"]), "classification"),
        (pd.Series([0, 1, 2]), "classification"),
        (pd.Series([1.0, 2.0, None]), "classification"),
        (pd.Series(range(11)), "regression"),
        (pd.Series([0.5, 1.0]), "regression"),
    ],
)
def test_the_task_follows_from_the_target(target: pd.Series, task: str) -> None:
    kind = "category" if target.dtype == object or target.dtype == "str" else "number"
    assert decide.task_of(target.rename("y"), kind)[0] == task


def test_rows_in_the_order_of_a_time_are_split_by_it(tmp_path: Path) -> None:
    days = pd.date_range("2025-01-01", periods=300, freq="6h")
    assert planned(save(frame().assign(day=days), tmp_path / "a.csv")).time == "day"
    shuffled = days.to_series().sample(frac=1, random_state=0).to_numpy()
    assert planned(save(frame().assign(day=shuffled), tmp_path / "b.csv")).time is None
    assert planned(tmp_path / "b.csv", time="day").time == "day"


def test_a_compressed_file_is_read_by_its_content(tmp_path: Path) -> None:
    save(frame(), tmp_path / "a.csv")
    (tmp_path / "b.txt").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    made = planned(tmp_path / "b.txt")
    assert not made.faults and 'compression="gzip"' in made.files["data.py"]
    assert len(plan.run_load(made.files["data.py"], str(tmp_path / "b.txt"))) == 300


def test_a_messy_export_gives_the_values_that_were_meant(tmp_path: Path) -> None:
    path = messy(tmp_path / "messy.csv")
    made = planned(path, "minutes")
    assert not made.faults and made.dropped == {"currency": "the same in every row"}
    assert 'MISSING = ["", " - ", "?", "n/a"]' in made.files["data.py"]
    assert 'format="%d/%m/%Y %H:%M"' in made.files["data.py"]
    loaded = check(
        plan.run_load(made.files["data.py"], str(path)), SimpleNamespace(**executed(made.files["schema.py"]))
    )
    assert set(loaded["class"]) == {"paris", "lyon", "nice\nville"}
    assert set(loaded["zip"]) == {"01099", "04109", "10115"}
    assert loaded['a"b'].dtype == "boolean" and loaded['a"b'].isna().any()
    assert loaded["größe \N{EN DASH} m²"].between(1000, 90_000).all()
    assert loaded["guests"].dtype == "Int64"
    assert loaded["mean radius"].max() < 25.01
    assert loaded["when"].notna().mean() > 0.9


def test_parquet_keeps_its_types_and_text_in_it_is_read_too(tmp_path: Path) -> None:
    data = frame(1200).assign(
        sold=pd.date_range("2024-01-01", periods=1200, freq="7h", tz="Europe/Berlin"),
        lift=pd.array([True, False, None] * 400, dtype="boolean"),
        floors=pd.array([1, None, 3, 4] * 300, dtype="Int64"),
        heating=pd.Categorical(["gas", None, "oil", " oil"] * 300),
        asked=[f" {value}" for value in range(0, 2400, 2)],
    )
    data.to_parquet(tmp_path / "flats.parquet")
    made = planned(tmp_path / "flats.parquet", time="sold", keep=("asked",))
    schema = made.files["schema.py"]
    assert 'TIME = "sold"' in schema
    assert '"lift": pa.Column("boolean", nullable=True)' in schema
    assert '"floors": pa.Column("Int64"' in schema
    assert '"heating": pa.Column(str, pa.Check.isin(["gas", "oil"]), nullable=True)' in schema
    assert "HistGradientBoostingRegressor" in made.files["model.py"]
    assert plan.run_load(made.files["data.py"], str(tmp_path / "flats.parquet"))["asked"].max() == 2398


@pytest.mark.parametrize(
    ("value", "text"), [(2.0, "2"), (0.1, "0.1"), (["é", 1], '["é", 1]'), (None, "None")]
)
def test_a_value_is_written_as_ruff_would(value: Any, text: str) -> None:
    assert render.literal(value) == text


def column(rng: np.random.Generator, rows: int) -> tuple[pd.Series, Any]:
    """Return a random column as a file spells it, and for some kinds the values that are meant."""
    numbers = rng.normal(0, 10.0 ** rng.integers(-4, 7), rows)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 10**6, rows), "min")
    words = rng.choice(["a", "B b", "ü", "x\ny", "it's", 'q"', "1;2", "3,4", "no", "t"], 6)
    form = rng.choice(["%Y-%m-%d", "%d/%m/%Y", "%m-%d-%Y %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%y"])
    kinds: list[Any] = [
        lambda: numbers.round(rng.integers(0, 6)),
        lambda: np.abs(numbers),
        lambda: rng.integers(-3, 10 ** rng.integers(1, 9), rows),
        lambda: [f"{x:,.2f}" for x in numbers],
        lambda: [f"{x:,.2f}".translate(str.maketrans(",.", ".,")) for x in numbers],
        lambda: [f"{x:.3f}".replace(".", ",") for x in numbers],
        lambda: days.strftime(str(form)),
        lambda: rng.choice(words, rows),
        lambda: rng.choice(["yes", "No ", "YES", "no"], rows),
        lambda: rng.choice(["true", "False"], rows),
        lambda: rng.integers(0, 2, rows),
        lambda: [f"{x:05d}" for x in rng.integers(0, 9, rows)],
        lambda: rng.uniform(0, 1, rows),
    ]
    kind = int(rng.integers(len(kinds)))
    values = pd.Series(kinds[kind]()).astype(object)
    meant = {3: numbers.round(2), 4: numbers.round(2), 5: numbers.round(3), 6: days.floor("D")}.get(kind)
    gaps = rng.random(rows) < rng.choice([0, 0, 0.1, 0.5])
    return values.mask(gaps, rng.choice(["", "NA", "?", " - ", "null", "  "])), meant


def table(seed: int, path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write a random table as CSV; return it, and what its columns mean."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(50, 200))
    names = ["mean radius", "class", 'a"b', "größe", "x\ny", "{x}", "1", "y'", "SOURCE", "%s", "a b"]
    names = rng.permutation(names)
    drawn = {name: column(rng, rows) for name in names[: rng.integers(2, 8)]}
    data = pd.DataFrame({name: values for name, (values, _) in drawn.items()})
    data["y"] = rng.normal(0, 1, rows) if rng.random() < 0.5 else rng.choice(["p", "q", "1"], rows)
    encoding = rng.choice(["utf-8", "utf-8-sig", "latin-1"])
    data.to_csv(path, sep=rng.choice([",", ";", "\t", "|"]), index=False, encoding=encoding)
    return data, {name: meant for name, (_, meant) in drawn.items() if meant is not None}


def hold(made: plan.Plan, path: Path, meanings: dict[str, Any]) -> None:
    """Assert that the rendered files take the very rows they were inferred from, and read them as meant."""
    loaded = plan.run_load(made.files["data.py"], str(path))
    schema, features, _ = (executed(made.files[name]) for name in ("schema.py", "features.py", "model.py"))
    valid = check(loaded, SimpleNamespace(**schema))
    arrays = from_frame(valid, made.columns)
    assert all(
        described.accepts(arrays[described.name]).all() for described in made.columns if described.name != "y"
    )
    arrays.pop("y")
    inputs = features["build"](arrays)
    assert all(len(values) == len(valid) for values in inputs.values())
    assert not any(values.dtype.kind == "M" for values in inputs.values())
    for name, meant in meanings.items():
        if name not in valid:
            continue
        got, meant = valid[name], pd.Series(meant)
        off = (got.dt.floor("D") if got.dtype.kind == "M" else got) - meant
        zero = pd.Timedelta(0) if got.dtype.kind == "M" else 1e-6 * meant.abs().max()
        assert (off.dropna().abs() <= zero).all(), name


def test_a_schema_accepts_the_very_data_it_was_inferred_from(tmp_path: Path) -> None:
    """120 random tables, as CSV and as Parquet: the files that were rendered read them as they were meant."""
    outcomes = Counter[str]()
    for seed in range(60):
        data, meanings = table(seed, tmp_path / "random.csv")
        typed = data.infer_objects()
        typed = typed.astype({name: str for name in typed if typed[name].dtype == object})
        typed.to_parquet(tmp_path / "random.parquet")
        for path in (tmp_path / "random.csv", tmp_path / "random.parquet"):
            made = planned(path, "y", keep=tuple(data.columns.drop("y")))
            outcomes["refused" if made.faults else "adopted"] += 1
            if not made.faults:
                hold(made, path, meanings)
    assert outcomes["adopted"] > 4 * outcomes["refused"], outcomes
