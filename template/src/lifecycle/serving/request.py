"""The request and answer models, made from schema.json: what the docs page shows is what is checked."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, create_model

from ..columns import Column, Schema
from ..monitoring.windows import Recorder

WRONG_KEY = "the header X-API-Key is missing or wrong"
TOO_LARGE = "the body is over the limit of {:,} bytes: send fewer rows a request"
TYPES: dict[str, Any] = {
    "number": float,
    "integer": int,
    "boolean": bool,
    "category": str,
    "datetime": datetime,
}


def body_type(schema: Schema, example: dict[str, Any]) -> Any:
    """Return the type of a body: one row, or a list of rows, with the fixture as the example."""
    fields: dict[str, Any] = {f"c{i}": _field(column) for i, column in enumerate(schema.columns)}
    config = ConfigDict(extra="forbid", json_schema_extra={"example": example})
    row = create_model("Row", __config__=config, **fields)
    many = Annotated[list[row], Field(min_length=1), Tag("rows")]  # type: ignore[valid-type]
    return Annotated[Annotated[row, Tag("row")] | many, Discriminator(_one_or_many)]


def _one_of(values: list[Any]) -> Any:
    return Literal[tuple(values)]  # type: ignore[valid-type]


def _one_or_many(body: Any) -> str:
    return "rows" if isinstance(body, list) else "row"


def _field(column: Column) -> tuple[Any, Any]:
    """Return a field under the column's own name as its alias: names may hold spaces or be `class`."""
    kind: Any = TYPES[column.kind]
    facts: dict[str, Any] = {}
    if column.allowed is not None:
        kind = _one_of(column.allowed)
    elif column.kind in ("number", "integer"):
        facts |= {"ge": column.minimum, "le": column.maximum}
    if column.kind == "number":
        facts["allow_inf_nan"] = False
    if column.kind != "category":
        kind = Annotated[kind, BeforeValidator(_strict(column.kind))]
    described = f"{column.description}: {column.rule}" if column.description else column.rule
    kind = Annotated[kind, Field(**facts)]
    field: Any = Field(alias=column.name, description=described)
    if column.nullable:
        return kind | None, Field(None, alias=column.name, description=described)
    return kind, field


def _strict(kind: str) -> Any:
    """Refuse "12" or true for 12, and 0 for a time: what pydantic would quietly make fit."""
    wanted: tuple[type, ...] = {"boolean": (bool,), "datetime": (str, datetime)}.get(kind, (int, float))

    def check(value: Any) -> Any:
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "boolean"):
            raise ValueError(f"{kind} expected")
        return value

    return check


def answer_type(schema: Schema) -> type[BaseModel]:
    """Return the model of an answer: the version, a prediction a row, and their ids for labels."""
    value: Any = _one_of(schema.classes) if schema.classes else float
    fields: dict[str, Any] = {"prediction": (value, ...)}
    if schema.classes:
        fields["probabilities"] = (dict[str, float], ...)
    prediction = create_model("Prediction", **fields)
    rows: dict[str, Any] = {"predictions": (list[prediction], ...), "ids": (list[str], ...)}
    return create_model("Answer", version=(str, ...), **rows)


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


def refuse(
    errors: list[dict[str, Any]], schema: Schema, recorder: Recorder
) -> tuple[dict[str, Any], set[str]]:
    """Return the body of an answer 422 and the columns at fault, and count the rows that broke the schema."""
    faults, rows = explain(errors, schema)
    recorder.reject(rows)
    known = {column.name for column in schema.columns}
    return {"detail": faults[:100]}, {fault["field"] for fault in faults} & known


def explain(errors: list[dict[str, Any]], schema: Schema) -> tuple[list[dict[str, Any]], int]:
    """Turn pydantic's errors into {row, field, problem, allowed}, and count the rows at fault.

    What was sent is not repeated: it may be personal, or not even be JSON.
    """
    rules = {column.name: column.rule for column in schema.columns}
    faults = []
    for error in errors:
        place = [part for part in error["loc"] if part not in ("body", "row", "rows")]
        row = place.pop(0) if place and isinstance(place[0], int) else 0
        field = next((part for part in place if part in rules), None)
        unknown = error["type"] == "extra_forbidden"
        problem = "there is no such field" if unknown else error["msg"]
        name = str(place[0])[:60] if unknown and place else field
        faults.append({"row": row, "field": name, "problem": problem, "allowed": rules.get(field or "")})
    return faults, len({fault["row"] for fault in faults if fault["field"]})
