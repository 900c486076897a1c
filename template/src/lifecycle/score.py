"""Predict whole folders of Parquet, alone or as one of many shards: `lifecycle score FOLDER --to RESULTS`."""

import os
import uuid
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
from pyarrow import fs
from pyarrow.parquet import ParquetFile, ParquetWriter

from . import errors
from .candidate import verify
from .columns import MISSING, Column, kind_of
from .errors import DataError, LifecycleError
from .serving.predictor import Predictor

# The trailing checksums that AWS's own SDK adds are refused by other stores, Ceph's among them.
os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
BATCH_ROWS = 50_000
ARROW = {"category": pa.string(), "datetime": pa.timestamp("us")}
Place = tuple[Any, str]  # file system, path
folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("source")
@click.option("--to", required=True, help="Where results go, those of each version into a folder of its own.")
@click.option("--shard", metavar="I/N", help="Every Nth file from the Ith on (0 is the first).")
@click.option("--model", envvar="MODEL_DIR", required=True, type=folder, help="As lifecycle fetch makes it.")
def score(source: str, to: str, shard: str | None, model: Path) -> None:
    """Predict every Parquet file under SOURCE, a folder or s3://bucket/prefix.

    Results are the same rows and columns, with prediction and error: a row that breaks the schema gets no
    prediction but the reason. A result that is there is left alone, so a run that was stopped just goes on.
    """
    index, shards = _shard(shard)
    version, predictor = verify(model).version, Predictor(model)
    (store, root), (target, results) = _open(source), _open(f"{to}/version={version}")
    mine = _parts(store, root)[index::shards]
    broken = []
    for part in mine:
        if target.get_file_info(f"{results}/{part}").type == fs.FileType.File:
            continue
        try:
            rows, bad = _score(predictor, (store, f"{root}/{part}"), (target, f"{results}/{part}"))
        except (pa.ArrowException, OSError, DataError) as error:  # the other files are still worth having
            broken.append(f"{part}: {error}")
        else:
            errors.done(f"{part}: {rows:,} rows, {bad:,} with an error")
    if broken:
        lines = [f"{len(broken)} of {len(mine)} files were not scored", *broken]
        raise DataError("\n".join(lines), "mend them and run it again: what is done is not done twice")
    errors.done(f"shard {index}/{shards}: all {len(mine)} files are there")


def _shard(given: str | None) -> tuple[int, int]:
    """Return (index, number of shards); a pod of an Indexed Job learns them from its environment."""
    text = given or f"{os.environ.get('JOB_COMPLETION_INDEX', 0)}/{os.environ.get('JOB_COMPLETIONS', 1)}"
    index, _, number = text.partition("/")
    if not (index.isdecimal() and number.isdecimal() and int(index) < int(number)):
        raise LifecycleError(f"{text} is no shard", "0/4 is the first of four; a Job sets JOB_COMPLETIONS")
    return int(index), int(number)


def _open(place: str) -> Place:
    try:
        return fs.FileSystem.from_uri(place if "://" in place else str(Path(place).absolute()))
    except (pa.ArrowException, OSError) as error:
        raise LifecycleError(f"{place} cannot be opened: {error}") from error


def _parts(store: fs.FileSystem, root: str) -> list[str]:
    """Return the files under root, in one order for every shard; a name with _ or . in front is no data."""
    found = store.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    names = [info.path.removeprefix(root).lstrip("/") for info in found if info.path.endswith(".parquet")]
    if parts := sorted(name for name in names if not any(word[0] in "_." for word in name.split("/"))):
        return parts
    raise LifecycleError(f"there is no .parquet file under {root}")


def _score(predictor: Predictor, source: Place, result: Place) -> tuple[int, int]:
    """Stream one file through the model; the result appears whole, under its name, or not at all."""
    (store, path), (target, final) = source, result
    folder, name = final.rsplit("/", 1)
    partial = f"{folder}/.{name}.{uuid.uuid4().hex}.partial"  # for a moment two pods may be the same shard
    target.create_dir(folder, recursive=True)
    rows = bad = 0
    with store.open_input_file(path) as raw, ParquetFile(raw) as parquet:
        schema = _predict(predictor, pa.RecordBatch.from_pylist([], parquet.schema_arrow))[0].schema
        with target.open_output_stream(partial) as out, ParquetWriter(out, schema) as writer:
            for batch in parquet.iter_batches(BATCH_ROWS):
                scored, refused = _predict(predictor, batch)
                writer.write_batch(scored)
                rows, bad = rows + batch.num_rows, bad + refused
    target.move(partial, final)
    return rows, bad


def _predict(predictor: Predictor, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    """Return the batch with what was predicted and what was wrong, and how many rows are wrong."""
    arrays, faults = {}, np.full(batch.num_rows, "", dtype=object)
    for column in predictor.schema.columns:
        arrays[column.name], allowed = _column(batch, column)
        faults[~allowed] += f"{column.name}: {column.rule}; "
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


def _column(batch: pa.RecordBatch, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Return a column as the model takes it, and for each row whether the schema allows its value.

    Raises DataError when the whole column is missing or of another type.
    """
    if column.name not in batch.schema.names:
        raise DataError(f"there is no column {column.name}")
    given = batch.column(column.name)
    if isinstance(given, pa.DictionaryArray):
        given = given.dictionary_decode()
    kinds = {column.kind, kind_of(str(np.dtype(given.type.to_pandas_dtype())))}
    if len(kinds) > 1 and kinds != {"number", "integer"} and given.type != pa.null():
        raise DataError(f"the column {column.name} is {given.type}, not {column.rule}")
    missing = given.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    given = given.cast(ARROW.get(column.kind, pa.float64()))
    values = (given.fill_null(MISSING) if column.kind == "category" else given).to_numpy(zero_copy_only=False)
    fine = np.full(len(values), True)
    if column.allowed is not None:
        fine = np.isin(values, column.allowed)
    elif given.type == pa.float64():
        whole = column.kind == "number" or np.floor(values) == values
        low = -np.inf if column.minimum is None else column.minimum
        high = np.inf if column.maximum is None else column.maximum
        fine = np.isfinite(values) & whole & (values >= low) & (values <= high)
    return values, np.where(missing, column.nullable, fine)
