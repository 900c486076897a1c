"""The request and the answer as models made from schema.json, and how requests are answered.

The docs page shows what is checked. AWS Lambda answers by this module too, so it imports no FastAPI.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, create_model

from ..data.arrays import from_rows
from ..data.schema import Column, Kind, Schema
from ..model.predictor import Predictor
from ..monitoring.serving_stats import Recorder

WRONG_KEY = "the header X-API-Key is missing or wrong"
TOO_LARGE = "the body is over the limit of {:,} bytes: send fewer rows a request"
MOST_FAULTS = 100  # that an answer lists
TYPES: Any = {"number": float, "integer": int, "boolean": bool, "category": str, "datetime": datetime}


def body_type(schema: Schema, example: dict[str, Any]) -> Any:
    """Return the type of a body: one row, or a list of rows, with the fixture row as the example."""
    fields: dict[str, Any] = {f"c{i}": _field(column) for i, column in enumerate(schema.columns)}
    config = ConfigDict(extra="forbid", json_schema_extra={"example": example})
    row: Any = create_model("Row", __config__=config, **fields)
    many = Annotated[list[row], Field(min_length=1), Tag("rows")]
    one_or_many = Discriminator(lambda body: "rows" if isinstance(body, list) else "row")
    return Annotated[Annotated[row, Tag("row")] | many, one_or_many]


def _field(column: Column) -> tuple[Any, Any]:
    """Return a field under the column's own name as its alias: names may hold spaces or be `class`."""
    kind, facts = TYPES[column.kind], dict[str, Any]()
    if column.allowed is not None:
        kind = Literal[tuple(column.allowed)]  # type: ignore[valid-type]
    elif column.kind in ("number", "integer"):
        facts = {"ge": column.minimum, "le": column.maximum}
    if column.kind == "number":
        facts["allow_inf_nan"] = False
    if column.kind != "category":
        kind = Annotated[kind, BeforeValidator(_strict(column.kind))]
    kind = Annotated[kind, Field(**facts)]
    described = f"{column.description}: {column.rule}".removeprefix(": ")
    field = Field(None if column.nullable else ..., alias=column.name, description=described)
    return kind | None if column.nullable else kind, field


def _strict(kind: Kind) -> Any:
    """Refuse "12" or true for 12, and 0 for a time: what pydantic would quietly make fit."""
    types: tuple[type, ...] = {"boolean": (bool,), "datetime": (str, datetime)}.get(kind, (int, float))

    def check(value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean"):
            raise ValueError(f"{kind} expected")
        return value

    return check


def answer_type(schema: Schema) -> type[BaseModel]:
    """Return the model of an answer: the version, a prediction a row, and their ids for labels."""
    value: Any = Literal[tuple(schema.classes)] if schema.classes else float  # type: ignore[valid-type]
    fields: dict[str, Any] = {"probabilities": (dict[str, float], ...)} if schema.classes else {}
    prediction: Any = create_model("Prediction", prediction=(value, ...), **fields)
    rows = (list[prediction], ...)
    return create_model("Answer", version=(str, ...), predictions=rows, ids=(list[str], ...))


class Fault(BaseModel):
    """What is wrong with a row of a request."""

    row: int
    field: str | None
    problem: str
    allowed: str | None


class Refusal(BaseModel):
    """The answer to a request with rows that break the schema."""

    detail: list[Fault]


def describe(schema: Schema) -> str:
    """Return the head of the docs page: what is predicted, and each column with what it allows."""
    lines = [f"Predicts **{schema.target.name}** from:\n", "| column | allowed | |", "| --- | --- | --- |"]
    for column in schema.columns:
        cells = (f"`{column.name}`", column.rule, column.description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def respond(predictor: Predictor, body: Any, recorder: Recorder) -> tuple[dict[str, Any], np.ndarray]:
    """Predict a body that body_type has checked, count it, and return the answer and the predictions."""
    rows = body if isinstance(body, list) else [body]
    columns = from_rows([row.model_dump(by_alias=True) for row in rows], predictor.schema.columns)
    output = predictor.predict_arrays(columns)
    ids = recorder.add(columns, output)
    return {"version": predictor.version, "predictions": predictor.answers(output), "ids": ids}, output


def refuse(errors: list[Any], schema: Schema, recorder: Recorder) -> tuple[dict[str, Any], set[str]]:
    """Return the answer 422 to pydantic's errors and the columns at fault, and count the rows that are.

    What was sent is not repeated: it may be personal, or not even be JSON.
    """
    rules: dict[Any, str] = {column.name: column.rule for column in schema.columns}
    faults = []
    for error in errors:
        place = [part for part in error["loc"] if part not in ("body", "row", "rows")]
        row = place.pop(0) if place and isinstance(place[0], int) else 0
        field = next((part for part in place if part in rules), None)
        unknown = error["type"] == "extra_forbidden"
        problem = "there is no such field" if unknown else error["msg"]
        name = str(place[0])[:60] if unknown and place else field
        faults.append({"row": row, "field": name, "problem": problem, "allowed": rules.get(field)})
    recorder.reject(len({fault["row"] for fault in faults if fault["field"]}))
    return {"detail": faults[:MOST_FAULTS]}, {str(fault["field"]) for fault in faults} & rules.keys()
