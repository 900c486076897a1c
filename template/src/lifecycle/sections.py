"""Sections of params.yaml that watch what was served. All have defaults: older files lack them."""

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Performance(Section):
    """When labelled rows say that the model got worse. worse: relative, of the error; drop: of a class's
    precision or recall in a week, absolute; window_hours: of predictions to look at, labels come late.
    """

    min_rows: int = Field(200, ge=1)
    window_hours: float = Field(672, gt=0)
    worse: float = Field(0.1, ge=0)
    drop: float = Field(0.05, ge=0, le=1)
    p_value: float = Field(0.01, gt=0, lt=1)


class Anomalies(Section):
    """Which rows are logged whole, and how many in a day by each process; 0 logs none.

    confidence: of the most probable class, below it; sigma: residuals over so many of the hold-out's, once
    labels come. hashed: personal columns that are logged as a keyed hash; dropped: those that are not logged.
    """

    most_a_day: int = Field(1000, ge=0)
    confidence: float = Field(0.55, ge=0, le=1)
    sigma: float = Field(3.0, gt=0)
    hashed: list[str] = []
    dropped: list[str] = []
