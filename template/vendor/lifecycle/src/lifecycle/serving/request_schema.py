"""The request and the answer as models made from schema.json, and how requests are answered.

The docs page shows what is checked. AWS Lambda answers by this module too, so it imports no FastAPI.
"""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    create_model,
)

from ..data.arrays import from_rows
from ..data.schema import Column, Kind, Schema
from ..model.predictor import Predictor
from ..monitoring.serving_stats import Recorder

WRONG_KEY = "the header X-API-Key is missing or wrong"
TOO_LARGE = "the body is over the limit of {:,} bytes: send fewer rows a request"
TOO_MANY = "{:,} rows are over the limit of {:,} rows a request: send fewer"
MOST_FAULTS = 100  # that an answer lists, and that are looked for
TYPES: Any = {"number": float, "integer": int, "boolean": bool, "category": str, "datetime": datetime}


class TooManyRows(Exception):
    """A body holds more rows than a request may."""


class Refused(Exception):
    """Rows break the schema. errors: pydantic's, the first ones. rows: how many rows break it."""

    def __init__(self, errors: list[Any], rows: int) -> None:
        super().__init__()
        self.errors, self.rows = errors, rows


def body_type(schema: Schema, example: dict[str, Any], most_rows: int) -> Any:
    """Return the type of a body: one row, or a list of rows, with the fixture row as the example.

    Validating raises TooManyRows, Refused, or ValidationError where the body is no row and no list of rows.
    """
    fields: dict[str, Any] = {f"c{i}": _field(column) for i, column in enumerate(schema.columns)}
    config = ConfigDict(extra="forbid", json_schema_extra={"example": example})
    row: Any = create_model("Row", __config__=config, **fields)
    many = Annotated[list[row], Field(min_length=1), Tag("rows")]
    one_or_many = Discriminator(lambda body: "rows" if isinstance(body, list) else "row")
    one_row, most_fields = TypeAdapter(row).validator, len(fields) + MOST_FAULTS

    def check(body: Any, whole: Any) -> Any:
        """Validate row by row: pydantic would collect each error of each row, gigabytes of a small body."""
        rows = body if isinstance(body, list) else [body]
        if len(rows) > most_rows:
            raise TooManyRows(TOO_MANY.format(len(rows), most_rows))
        if not rows or not isinstance(body, list | dict):
            return whole(body)
        valid, errors, refused = [], list[Any](), 0
        for number, given in enumerate(rows):
            long = isinstance(given, dict) and len(given) > most_fields
            try:
                valid.append(
                    one_row.validate_python(dict(islice(given.items(), most_fields)) if long else given)
                )
            except ValidationError as error:
                refused += isinstance(given, dict)  # what is no row at all says nothing about the data
                if len(errors) < MOST_FAULTS:
                    found = error.errors(include_url=False, include_context=False, include_input=False)
                    errors += [{**each, "loc": (number, *each["loc"])} for each in found]
        if errors:
            raise Refused(errors, refused)
        return valid if isinstance(body, list) else valid[0]

    return Annotated[Annotated[row, Tag("row")] | many, one_or_many, WrapValidator(check)]


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
    if column.kind == "datetime":
        kind = Annotated[kind, AfterValidator(_in_utc)]
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


def _in_utc(value: datetime) -> datetime:
    """Refuse a time that is outside the years 1 to 9999 once it is in UTC."""
    try:
        return value.astimezone(UTC) if value.tzinfo else value
    except OverflowError:
        raise ValueError("a time from the years 1 to 9999 in UTC expected") from None


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


def refuse(error: Refused, schema: Schema, recorder: Recorder) -> tuple[dict[str, Any], set[str]]:
    """Return the answer 422 to rows and the columns at fault, and count the rows that are refused.

    What was sent is not repeated: it may be personal, or not even be JSON.
    """
    rules: dict[Any, str] = {column.name: column.rule for column in schema.columns}
    faults = []
    for each in error.errors:
        place = [part for part in each["loc"] if part not in ("body", "row", "rows")]
        row = place.pop(0) if place and isinstance(place[0], int) else 0
        field = next((part for part in place if part in rules), None)
        unknown = each["type"] == "extra_forbidden"
        problem = "there is no such field" if unknown else each["msg"]
        name = str(place[0])[:60] if unknown and place else field
        faults.append({"row": row, "field": name, "problem": problem, "allowed": rules.get(field)})
    recorder.reject(error.rows)
    return {"detail": faults[:MOST_FAULTS]}, {str(fault["field"]) for fault in faults} & rules.keys()
