"""Count a file's rows by the same code as the server's, in a stream: memory does not grow with the file."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import project
from ..columns import from_frame
from ..errors import DataError
from ..serving.predictor import Predictor
from ..steps.validate import check
from .profile import Profile

BATCH_ROWS = 50_000


def count(file: Path, predictor: Predictor, reference: Profile) -> Profile:
    """Return the counts of a Parquet file over the reference's bins; DataError if it breaks schema.py."""
    schema = project.load("schema")
    columns = [column.name for column in predictor.schema.columns]
    declared = schema.SCHEMA.select_columns(columns)
    counted = reference.empty()
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS):
                frame: pd.DataFrame = batch.to_pandas()
                valid = check(frame, declared, schema.MAX_NULL_RATE)
                arrays = from_frame(valid, predictor.schema.columns)
                counted.add(arrays, predictor.predict_arrays(arrays))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{file} cannot be read as Parquet: {error}") from error
    return counted
