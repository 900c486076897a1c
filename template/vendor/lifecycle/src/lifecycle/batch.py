"""Parquet files read in a stream: predict whole folders of them, or count one for the drift check.

Memory does not grow with a file, and the same rules decide about a value as in training and in the server.
"""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from .data.schema import Column
from .data.validation import check, from_arrow, is_plain
from .errors import DataError, LifecycleError, missing_extra
from .model.package import verify
from .model.predictor import Predictor
from .monitoring import histogram
from .monitoring.profile import Profile
from .project import Project

try:
    import pyarrow as pa
    import pyarrow.compute
    from pyarrow import fs
    from pyarrow.parquet import ParquetFile, ParquetWriter
except ModuleNotFoundError as error:
    raise missing_extra("batch", error) from error

pc: Any = pyarrow.compute  # whose functions are made at import: no type checker sees them
BATCH_ROWS = 50_000
PREDICTED = 20_000  # rows of a counted file, evenly spread: shares of predictions are known to half a percent
Place = tuple[Any, str]  # file system, path


def score(project: Project, source: str, to: str, model: Path, shard: str | None = None) -> Iterator[str]:
    """Predict every Parquet file under a folder or s3://bucket/prefix; yield a line for each file.

    to: the folder, in which results go into one of the version. model: the version's folder. shard: "I/N";
    else the environment of a Job says it. Raises DataError at the end, which names the files not scored.
    """
    text = shard or f"{os.environ.get('JOB_COMPLETION_INDEX', 0)}/{os.environ.get('JOB_COMPLETIONS', 1)}"
    if not (found := re.fullmatch(r"(\d+)/(\d+)", text)) or int(found[1]) >= int(found[2]):
        raise LifecycleError(f"{text} is no shard", "0/4 is the first of four; a Job sets JOB_COMPLETIONS")
    index, shards = int(found[1]), int(found[2])
    version, predictor = verify(model).version, Predictor(model, project.features.build)
    (store, root), (target, results) = _open(source), _open(f"{to}/version={version}")
    mine = _files(store, root)[index::shards]
    failed = []
    for name in mine:
        if target.get_file_info(f"{results}/{name}").type == fs.FileType.File:
            continue
        try:
            rows, faulty = _score(predictor, (store, f"{root}/{name}"), (target, f"{results}/{name}"))
        except (pa.ArrowException, OSError, DataError) as error:  # the other files are still worth having
            failed.append(f"{name}: {error}")
        else:
            yield f"{name}: {rows:,} rows, {faulty:,} with an error"
    if failed:
        lines = [f"{len(failed)} of {len(mine)} files were not scored", *failed]
        raise DataError("\n".join(lines), "fix them and run it again: what is done is not done twice")
    yield f"shard {index}/{shards}: all {len(mine)} files are there"


def _open(place: str) -> Place:
    # The trailing checksums that AWS's own SDK adds are refused by other stores, Ceph's among them.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    try:
        return fs.FileSystem.from_uri(place if "://" in place else str(Path(place).absolute()))
    except (pa.ArrowException, OSError) as error:
        raise LifecycleError(f"{place} cannot be opened: {error}") from error


def _files(store: Any, root: str) -> list[str]:
    """Return the files under root, in one order for every shard, without hidden ones (_ or . in front)."""
    found = store.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    names = [info.path.removeprefix(root).lstrip("/") for info in found if info.path.endswith(".parquet")]
    if shown := sorted(name for name in names if not any(word[0] in "_." for word in name.split("/"))):
        return shown
    raise LifecycleError(f"there is no .parquet file under {root}")


def _read(source: Place, columns: set[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the number of a file's rows with each batch, of which the first is empty. Raises DataError."""
    store, path = source
    # Without these two Arrow reads ahead, and keeps what it has read. Requests to a bucket are slow: fewer.
    size = 1 << (20 if isinstance(store, fs.LocalFileSystem) else 23)
    try:
        with store.open_input_file(path) as raw, ParquetFile(raw, buffer_size=size, pre_buffer=False) as file:
            names = [name for name in file.schema_arrow.names if columns is None or name in columns]
            schema = pa.schema([file.schema_arrow.field(name) for name in names])
            yield file.metadata.num_rows, pa.RecordBatch.from_pylist([], schema)
            for batch in file.iter_batches(BATCH_ROWS, columns=names):
                yield file.metadata.num_rows, batch
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def _score(predictor: Predictor, source: Place, result: Place) -> tuple[int, int]:
    """Stream one file through the model; the result appears whole, under its name, or not at all."""
    target, final = result
    folder, name = final.rsplit("/", 1)
    partial = f"{folder}/.{name}.{uuid.uuid4().hex}.partial"  # for a moment two pods may be the same shard
    rows = faulty = 0
    batches = _read(source)
    first, _ = _predict(predictor, next(batches)[1])
    target.create_dir(folder, recursive=True)
    with target.open_output_stream(partial) as out, ParquetWriter(out, first.schema) as writer:
        for _, batch in batches:
            scored, refused = _predict(predictor, batch)
            writer.write_batch(scored)
            rows, faulty = rows + batch.num_rows, faulty + refused
    target.move(partial, final)
    return rows, faulty


def _predict(predictor: Predictor, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    """Return the batch with what was predicted and what is wrong, and how many rows are wrong."""
    arrays, allowed = from_arrow(batch, predictor.schema.columns)
    faults = np.full(batch.num_rows, "", dtype=object)
    for column in predictor.schema.columns:
        faults[~allowed[column.name]] += f"{column.name}: {column.rule}; "
    fine, classes = faults == "", predictor.schema.classes
    output = np.full((len(fine), len(classes) or 1), np.nan)
    if fine.any():
        good = {name: values[fine] for name, values in arrays.items()}
        output[fine] = predictor.predict_arrays(good).reshape(fine.sum(), -1)
    columns = [pa.array(values, mask=~fine) for values in output.T]
    added = {"prediction": columns[0]}
    if classes:
        added["prediction"] = pa.array(classes).take(pa.array(output.argmax(axis=1), mask=~fine))
        added |= {f"probability_{name}": values for name, values in zip(classes, columns, strict=True)}
    added["error"] = pa.array([fault[:-2] or None for fault in faults], pa.string())
    if taken := set(added) & set(batch.schema.names):
        raise DataError(f"it has a column {min(taken)} of its own")
    names = [*batch.schema.names, *added]
    return pa.record_batch([*batch.columns, *added.values()], names=names), int((~fine).sum())


def count(source: Path, predictor: Predictor, reference: Profile, module: Any) -> Profile:
    """Return the counts of a file over the reference's bins. module: your schema.py.

    Raises DataError if the file breaks schema.py or is not Parquet.
    """
    counted, columns = reference.empty(), predictor.schema.columns
    names = [column.name for column in columns]
    rules = SimpleNamespace(SCHEMA=module.SCHEMA.select_columns(names), MAX_NULL_RATE=module.MAX_NULL_RATE)
    plain = False
    for total, batch in _read((fs.LocalFileSystem(), str(source)), set(names)):
        if not batch.num_rows:
            with suppress(DataError):  # a column is missing or of another type
                plain = is_plain(rules.SCHEMA) and bool(from_arrow(batch, columns))
            continue
        summaries = [_summary(batch[c.name], c, rules.MAX_NULL_RATE) for c in columns] if plain else []
        if not summaries or not all(fits for fits, _ in summaries):
            batch = pa.RecordBatch.from_pandas(check(batch.to_pandas(), rules), preserve_index=False)
            summaries = [_summary(batch[c.name], c, rules.MAX_NULL_RATE) for c in columns]
        every = max(1, total // PREDICTED)
        chosen = np.arange(-counted.rows % every, batch.num_rows, every)
        if len(chosen):
            counted.add_predictions(predictor.predict_arrays(from_arrow(batch.take(chosen), columns)[0]))
        for column, (_, values) in zip(columns, summaries, strict=True):
            if column.kind == "category":
                histogram.add_names(counted.features[column.name], values)
            elif column.kind != "datetime":
                histogram.add(counted.features[column.name], values)
        counted.rows += batch.num_rows
    return counted


def _summary(values: pa.Array, column: Column, most_missing: float) -> tuple[bool, Any]:
    """Return whether the schema allows all values, and what to count: numbers, or names with their counts."""
    # The schema is asked about the few values that decide for all: the distinct ones, or the ends of a range.
    missing, deciding, found = values.null_count, np.array([]), None
    if column.kind == "category":
        counts = pc.value_counts(values)
        found = list(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
        deciding = np.array([name for name, _ in found if name is not None], dtype=object)
    elif column.kind != "datetime":
        whole = column.kind != "integer" or pa.types.is_integer(values.type)
        values = values.cast(pa.int8()) if column.kind == "boolean" else values
        found = deciding = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if np.isnan(found.min()):  # if any of them is
            deciding = found[~np.isnan(found)]
        missing = len(found) - len(deciding)
        if whole and not column.allowed and len(deciding):
            deciding = np.array([deciding.min(), deciding.max()])
    allowed = column.accepts(deciding, np.zeros(len(deciding), dtype=bool)).all()
    return bool(allowed) and missing <= (most_missing * len(values) if column.nullable else 0), found
