"""Parquet in a stream: whole folders are predicted in shards, a file is counted as requests are."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from lifecycle import batch
from lifecycle.cli import app
from lifecycle.data.arrays import Arrays, from_frame
from lifecycle.data.schema import describe
from lifecycle.data.validation import is_plain
from lifecycle.errors import DataError, DigestMismatch, LifecycleError
from lifecycle.model.predictor import Predictor
from lifecycle.monitoring.profile import PREDICTION, Profile
from lifecycle.project import Project
from pyarrow import fs
from pyarrow.parquet import ParquetWriter
from services import ceph

MONTHS = ("2025-10", "2025-11", "2025-12")
CHECKS: dict[str, Any] = {
    "x": pa.Column(float, pa.Check.in_range(-9, 9), nullable=True),
    "n": pa.Column(int, pa.Check.ge(0)),
    "c": pa.Column(str, pa.Check.isin(["a", "b"]), nullable=True),
    "flag": pa.Column(bool),
    "at": pa.Column("datetime64[us]"),
    "y": pa.Column(float),
}


@pytest.fixture
def folder(project: Project) -> Path:
    """A folder with three months of rows under in/, a file each, and no results."""
    rows = pd.read_parquet(project.root / "data/deliveries.parquet").head(600)
    for number, month in enumerate(MONTHS):
        write(project.root, rows.iloc[number * 200 : (number + 1) * 200], month)
    return project.root


def write(folder: Path, rows: pd.DataFrame, month: str) -> None:
    place = folder / f"in/month={month}"
    place.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(place / "part-0.parquet", index=False)


def given(folder: Path, month: str = MONTHS[0]) -> pd.DataFrame:
    return pq.ParquetFile(folder / f"in/month={month}/part-0.parquet").read().to_pandas()


def score(project: Project, **more: Any) -> list[str]:
    source, to = str(project.root / "in"), str(project.root / "out")
    return list(batch.score(project, source, to, project.candidate, **more))


def results(folder: Path) -> list[str]:
    """The results that are there, and whatever else lies beside them."""
    return sorted(str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*.*"))


def result(folder: Path, month: str) -> pd.DataFrame:
    (file,) = (folder / "out").glob(f"version=*/month={month}/part-0.parquet")
    return pq.ParquetFile(file).read().to_pandas()


def test_shards_do_each_file_once_and_a_restart_goes_on(
    project: Project, folder: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = score(project, shard="0/2")
    expected = [f"version={predictor.version}/month={month}/part-0.parquet" for month in MONTHS]
    assert results(folder) == [expected[0], expected[2]], "no part of another shard, nothing half-written"
    assert "200 rows, 0 with an error" in said[0] and said[-1] == "shard 0/2: all 2 files are there"

    first = folder / "out" / expected[0]
    before = first.stat()
    (folder / "out" / expected[2]).unlink()
    assert len(score(project, shard="0/2")) == 2, "only what was missing is done"
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == (before.st_mtime_ns, before.st_ino)

    # As Kubernetes tells a pod of an Indexed Job.
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    monkeypatch.setenv("JOB_COMPLETIONS", "2")
    score(project)
    assert results(folder) == expected


def test_predictions_are_those_of_the_server(project: Project, folder: Path, predictor: Predictor) -> None:
    row = predictor.fixture["row"]
    write(folder, pd.DataFrame([row]).astype({"ordered_at": "datetime64[us]"}), MONTHS[0])
    score(project)
    scored = result(folder, MONTHS[0])
    assert scored["prediction"].to_list() == pytest.approx(
        [predictor.fixture["prediction"]["prediction"]], rel=1e-4
    )
    assert set(row) < set(scored.columns), "what a row is known by comes along"


def test_a_bad_row_gets_the_reason_and_the_others_their_prediction(project: Project, folder: Path) -> None:
    rows = given(folder)
    rows.loc[0, "distance_km"] = -1.0
    rows.loc[1, "distance_km"] = None
    rows["weather"] = rows["weather"].astype(object)
    rows.loc[1, "weather"] = "frogs"
    write(folder, rows, MONTHS[0])
    assert any("200 rows, 2 with an error" in line for line in score(project))
    scored = result(folder, MONTHS[0])
    assert scored["prediction"].isna().to_list() == [True, True] + [False] * 198
    assert scored["error"].isna().to_list() == [False, False] + [True] * 198
    assert "distance_km: number from 0" in scored["error"][0] and "weather: one of" in scored["error"][1]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: rows.drop(columns="distance_km"), "there is no column distance_km"),
        (lambda rows: rows.assign(distance_km="far"), "the column distance_km is"),
        (lambda rows: rows.assign(prediction=1.0), "it has a column prediction of its own"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_the_others_are_scored(
    project: Project, folder: Path, spoil: Callable[[pd.DataFrame], pd.DataFrame], says: str
) -> None:
    write(folder, spoil(given(folder)), MONTHS[0])
    with pytest.raises(DataError, match=f"1 of 3 files were not scored\nmonth={MONTHS[0]}.*{says}"):
        score(project)
    assert [name.split("/")[1] for name in results(folder)] == [f"month={month}" for month in MONTHS[1:]]


def test_a_torn_file_leaves_nothing_behind_under_a_results_name(project: Project, folder: Path) -> None:
    torn = folder / f"in/month={MONTHS[0]}/part-0.parquet"
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"1 of 3 files were not scored\n.*cannot be read as Parquet"):
        score(project)
    assert len([name for name in results(folder) if name.endswith(".parquet")]) == 2


def test_a_file_without_rows_has_a_result_without_rows(project: Project, folder: Path) -> None:
    write(folder, given(folder).head(0), MONTHS[0])
    assert any("0 rows, 0 with an error" in line for line in score(project))
    assert "prediction" in result(folder, MONTHS[0]) and len(result(folder, MONTHS[0])) == 0


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["in", "--to", "out", "--shard", "2/2"], LifecycleError, "2/2 is no shard"),
        (["nowhere", "--to", "out"], LifecycleError, "there is no .parquet file under"),
        (["ftp://in", "--to", "out"], LifecycleError, "ftp://in cannot be opened"),
        (["in", "--to", "out", "--model", "data"], DigestMismatch, r"has no manifest\.json"),
    ],
)
def test_the_command_says_what_cannot_be(
    project: Project, folder: Path, words: list[str], error: type[Exception], says: str
) -> None:
    places = [str(folder / word) if word in ("in", "out", "data", "nowhere") else word for word in words]
    done = CliRunner().invoke(app, ["score", *places], env={"MODEL_DIR": str(project.candidate)})
    assert isinstance(done.exception, error) and re.search(says, str(done.exception))
    assert not (folder / "out").exists()


def test_the_command_scores(project: Project, folder: Path) -> None:
    words = ["score", str(folder / "in"), "--to", str(folder / "out"), "--model", str(project.candidate)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and done.output.count("200 rows, 0 with an error") == 3, done.output


@pytest.mark.s3
def test_a_bucket_does_as_well_as_a_folder(
    project: Project, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ceph.gateway(tmp_path / "ceph") as gateway:
        env = gateway.user("owner")
        keys = {"access_key": env["AWS_ACCESS_KEY_ID"], "secret_key": env["AWS_SECRET_ACCESS_KEY"]}
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        bucket = fs.S3FileSystem(endpoint_override=gateway.url, allow_bucket_creation=True, **keys)
        bucket.create_dir("batch")
        fs.copy_files(str(folder / "in"), "batch/in", destination_filesystem=bucket)
        monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION")  # score must know that by itself
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        runs = [
            list(batch.score(project, "s3://batch/in", "s3://batch/out", project.candidate, shard))
            for shard in ("0/2", None)
        ]
        assert len(runs[1]) == 2, "the second run does what the first left"
        names = [info.path for info in bucket.get_file_info(fs.FileSelector("batch/out", recursive=True))]
        assert len([name for name in names if name.endswith("part-0.parquet")]) == 3
        assert not [name for name in names if "partial" in name]


def test_classes_get_their_probabilities(classifier_project: Project) -> None:
    project = classifier_project
    rows = pd.read_parquet(project.root / "data/deliveries.parquet").head(50)
    write(project.root, rows, MONTHS[0])
    score(project)
    scored = result(project.root, MONTHS[0])
    shares = scored.filter(like="probability_")
    assert shares.shape == (50, 2) and shares.sum(axis=1).to_list() == pytest.approx([1.0] * 50)
    best = shares.idxmax(axis=1).str.removeprefix("probability_").to_list()
    assert scored["prediction"].astype(str).to_list() == best


# Counting


def schema_of(**changed: Any) -> Any:
    facts = {"TARGET": "y", "TASK": "regression", "TIME": "at", "MAX_NULL_RATE": 0.2}
    declared = pa.DataFrameSchema(CHECKS | changed, coerce=True, strict="filter")
    return SimpleNamespace(SCHEMA=declared, **facts)


def draw(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
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


class Sum:
    """Predicts x + n, on whatever rows it is asked."""

    def __init__(self, module: Any) -> None:
        self.schema = describe(module)

    def predict_arrays(self, arrays: Arrays) -> np.ndarray:
        return np.nan_to_num(arrays["x"]) + arrays["n"]


def counted(frame: pd.DataFrame, path: Path, module: Any, of: pd.DataFrame | None = None) -> Profile:
    """Count a frame as a file, over the bins of another, or of the same."""
    predictor: Any = Sum(module)
    frame.to_parquet(path)
    return batch.count(path, predictor, profile(predictor, frame if of is None else of), module)


def profile(predictor: Any, frame: pd.DataFrame) -> Profile:
    arrays = from_frame(frame, predictor.schema.columns)
    return Profile.build(arrays, predictor.predict_arrays(arrays), predictor.schema)


def test_a_file_counts_as_its_rows_do(tmp_path: Path) -> None:
    module, frame = schema_of(), draw(120_000)
    found = counted(frame, tmp_path / "f.parquet", module)
    sampled = found.features.pop(PREDICTION)
    expected = profile(Sum(module), frame).features
    predictions = np.array(expected.pop(PREDICTION)["counts"]) / 120_000
    assert (found.features, found.rows) == (expected, 120_000)
    assert sum(sampled["counts"]) == 20_000
    assert np.abs(np.array(sampled["counts"]) / 20_000 - predictions).max() < 0.01


def test_pandas_checks_a_file_only_when_something_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick look at the ends of each column decides; types that pandera makes fit count as well."""
    asked: list[int] = []
    whole = batch.check

    def check(frame: pd.DataFrame, module: Any) -> pd.DataFrame:
        asked.append(len(frame))
        return whole(frame, module)

    monkeypatch.setattr(batch, "check", check)
    frame = draw(60_000)
    plain = counted(frame, tmp_path / "f.parquet", schema_of())
    whole_floats = counted(frame.astype({"n": float}), tmp_path / "g.parquet", schema_of(), frame)
    assert asked == []
    as_text = counted(frame.astype({"n": str}), tmp_path / "h.parquet", schema_of(), frame)
    assert asked == [50_000, 10_000]
    assert plain.features == whole_floats.features == as_text.features


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("x", 99.0, "in_range"),
        ("x", np.inf, "in_range"),
        ("c", "z", "isin"),
        ("n", -1, "greater"),
        ("c", None, "%"),
        ("x", np.nan, "%"),
    ],
)
def test_a_file_that_breaks_the_schema_is_refused(tmp_path: Path, column: str, value: Any, says: str) -> None:
    frame = draw(60_000)
    spoilt = frame.copy()
    many = value is None or value != value
    spoilt.loc[slice(50_000, None) if many else 59_000, column] = value
    with pytest.raises(DataError, match=says):
        counted(spoilt, tmp_path / "f.parquet", schema_of(), frame)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda frame: frame.drop(columns="n"), "n +the column is not in the data"),
        (lambda frame: frame.assign(n=None), "n "),
        (lambda frame: frame.assign(x=None), "100% missing"),
        (lambda frame: frame.assign(x="many"), "x "),
    ],
    ids=["no column", "nothing in it", "too much missing", "another type"],
)
def test_a_column_that_is_not_as_declared_is_refused(
    tmp_path: Path, spoil: Callable[[pd.DataFrame], pd.DataFrame], says: str
) -> None:
    frame = draw(1000)
    with pytest.raises(DataError, match=says):
        counted(spoil(frame), tmp_path / "f.parquet", schema_of(), frame)


def test_a_check_of_another_kind_is_not_passed_over(tmp_path: Path) -> None:
    even = schema_of(n=pa.Column(int, [pa.Check.ge(0), pa.Check(lambda n: n % 2 == 0, name="even")]))
    assert is_plain(schema_of().SCHEMA) and not is_plain(even.SCHEMA)
    with pytest.raises(DataError, match="even"):
        counted(draw(100), tmp_path / "f.parquet", even)


def test_what_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.parquet").write_text("x,n\n1,2\n")
    predictor: Any = Sum(schema_of())
    with pytest.raises(DataError, match="cannot be read"):
        batch.count(tmp_path / "f.parquet", predictor, Profile({}, 0, []), schema_of())


PEAK = """
import re, sys
from pathlib import Path
from types import SimpleNamespace
import test_batch as t
module = t.wide()
predictor = SimpleNamespace(schema=t.describe(module), predict_arrays=lambda arrays: arrays["x0"])
columns = {f"x{i}": t.np.arange(100.0) for i in range(10)}
reference = t.Profile.build(columns, columns["x0"], predictor.schema)
assert t.batch.count(Path(sys.argv[1]), predictor, reference, module).rows == int(sys.argv[2])
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
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        peaks.append(int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 40_000, peaks
