"""The settings: what params.yaml says, else the defaults here; each with its unit and meaning.

An environment variable such as LIFECYCLE_GATE__MARGIN_OVER_LIVE=0.02 overrides the file, for one run.
"""

import json
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import PydanticBaseSettingsSource as Source

from .errors import SettingsError
from .maintenance import covers
from .project import Project


class Section(BaseModel):
    """A section of params.yaml. Unknown keys are refused: a typing error must not pass as a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(Section):
    """How the rows for the gate are held out.

    holdout: share of the rows, the newest where schema.py names a TIME column, else a random share by `seed`.
    """

    holdout: float = Field(0.2, gt=0, lt=1)
    seed: int = 0


class Gate(Section):
    """What `evaluate` asks of a candidate. Margins are relative: 0.1 is an error that is 10 % smaller.

    baseline: an error (MAE, or log loss) to be better than; null takes the naive model's error (median, class
    shares). compare_with_live: also against the version in production, on the same hold-out. parity: largest
    difference between ONNX and the estimator, as a share of the target's standard deviation, or as a
    probability. max_latency_ms: for one row, median. max_size_mb: of the candidate's files.
    """

    baseline: float | None = Field(None, gt=0)
    margin_over_baseline: float = 0.1
    compare_with_live: bool = True
    margin_over_live: float = 0.0
    parity: float = Field(0.001, gt=0)
    max_latency_ms: float = Field(20, gt=0)
    max_size_mb: float = Field(50, gt=0)


class Drift(Section):
    """Thresholds of the drift check. A feature drifts when an effect (psi or ks) and the p-value pass theirs.

    min_rows: below it the verdict is "insufficient data", never "no drift". window_hours: of served counts.
    psi: population stability index. ks: Kolmogorov-Smirnov distance. p_value: after correction for the number
    of features. max_rejected: share of rows that break the schema, above it the verdict is "broken data";
    max_missing, max_new, max_outside: by how much the share of missing values, of categories that training
    never saw, and of numbers beyond training's range by more than half its width may rise. min_importance:
    share of the most important feature's importance, below it drift is reported but makes no verdict.
    """

    min_rows: int = Field(500, ge=1)
    window_hours: float = Field(168, gt=0)
    psi: float = Field(0.2, gt=0)
    ks: float = Field(0.1, gt=0, le=1)
    p_value: float = Field(0.01, gt=0, lt=1)
    max_rejected: float = Field(0.05, ge=0, le=1)
    max_missing: float = Field(0.1, ge=0, le=1)
    max_new: float = Field(0.05, ge=0, le=1)
    max_outside: float = Field(0.05, ge=0, le=1)
    min_importance: float = Field(0.01, ge=0, le=1)


class Performance(Section):
    """When labelled rows say that the model got worse.

    min_rows: labelled rows, below it the verdict is "insufficient data". window_hours: of predictions to look
    at; labels come late. worse: relative rise of the error over the hold-out's, or over the previous
    version's on the same rows. drop: absolute fall of a class's precision or recall in a week. p_value: below
    it a difference is more than chance.
    """

    min_rows: int = Field(200, ge=1)
    window_hours: float = Field(672, gt=0)
    worse: float = Field(0.1, ge=0)
    drop: float = Field(0.05, ge=0, le=1)
    p_value: float = Field(0.01, gt=0, lt=1)


class Anomalies(Section):
    """Which unusual rows are logged whole. Sealed by `train`: a change counts from the next training on.

    most_a_day: rows of each process; 0 logs none. confidence: of the most probable class, rows below it are
    logged. sigma: residuals over so many standard deviations of the hold-out's, once labels come. hashed:
    personal columns, logged as a hash keyed with ANOMALY_KEY. dropped: columns that are never logged.
    """

    most_a_day: int = Field(1000, ge=0)
    confidence: float = Field(0.55, ge=0, le=1)
    sigma: float = Field(3.0, gt=0)
    hashed: list[str] = []
    dropped: list[str] = []


class Retrain(Section):
    """When to retrain, and how long it may take. A cron line is: minute hour day month weekday.

    schedule: of retraining. check: of looking for new data and drift. cooldown_hours: from one start to the
    next, whatever asks for it. limit_minutes: of one attempt at a step; with cron, at all steps. lock_hours:
    for so long a run that died on another host blocks others. retries: of what fails. retry_seconds: before
    the first retry, and twice as long before each next one.
    """

    schedule: str = "23 4 * * 1"
    check: str = "*/15 * * * *"
    cooldown_hours: float = Field(6, ge=0)
    limit_minutes: float = Field(60, gt=0)
    lock_hours: float = Field(6, gt=0)
    retries: int = Field(2, ge=0)
    retry_seconds: float = Field(60, gt=0)


class Policy(Section):
    """What is done about what a check finds: automation/policy.py has the table.

    rollback_on_drift: drift alone rolls back only if this is true and the previous version scores better.
    drifts_in_a_row: after so many checks that find drift, among at least least_checks of that version.
    release_hours: worse performance, errors or latency within them roll a release back; longer than labels
    take. repeat_hours: until a person is told of the same thing again. alerts_per_hour: more are held back.
    runbooks: where an alert says to look; better the address where your git server shows them. maintenance:
    "Sun 02:00-04:30", "22:00-01:00" or "2026-12-24T18:00/2026-12-27", in UTC: nothing is done in it.
    """

    rollback_on_drift: bool = False
    drifts_in_a_row: int = Field(3, ge=1)
    least_checks: int = Field(12, ge=1)
    release_hours: float = Field(72, ge=0)
    repeat_hours: float = Field(24, ge=0)
    alerts_per_hour: int = Field(20, ge=1)
    runbooks: str = "docs/runbooks.md"
    maintenance: list[str] = []

    @field_validator("maintenance")
    @classmethod
    def windows(cls, maintenance: list[str]) -> list[str]:
        """Refuse a window that is none."""
        for window in maintenance:
            covers(window, 0.0)
        return maintenance


def _value(item: Any) -> Any:
    """Read what the environment says: LIFECYCLE_MODEL__MAX_ITER=100 is a number, as max_iter: 100 is."""
    try:
        return json.loads(item) if isinstance(item, str) else item
    except ValueError:
        return item


class Settings(BaseSettings):
    """All sections. `model` is handed to your model.py as it is."""

    model_config = SettingsConfigDict(
        env_prefix="LIFECYCLE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )
    split: Split = Split()
    model: dict[str, Annotated[Any, BeforeValidator(_value)]] = {}
    gate: Gate = Gate()
    drift: Drift = Drift()
    performance: Performance = Performance()
    anomalies: Anomalies = Anomalies()
    retrain: Retrain = Retrain()
    policy: Policy = Policy()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type, init_settings: Source, env_settings: Source, *_: Any, **__: Any
    ) -> tuple[Source, ...]:
        """The environment comes before what the file says."""
        return env_settings, init_settings


def load(project: Project) -> Settings:
    """Return the settings of a project. Raises SettingsError that names the line or the variable."""
    if not project.params.is_file():
        raise SettingsError(f"{project.params} is not here", "run the command from the project's root folder")
    try:
        with project.params.open("rb") as file:  # whose name YAML's errors hold
            return Settings(**yaml.safe_load(file) or {})
    except ValidationError as error:
        lines = [f"{_place(project, item['loc'])}: {item['msg']}" for item in error.errors()]
        raise SettingsError("\n".join(lines), "fix it and run the command again") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{project.params} is not YAML: {error}", "fix that line") from error


def _place(project: Project, location: tuple[int | str, ...]) -> str:
    """Return "params.yaml, line 7, gate.parity", or the variable when the key is not in the file."""
    node = yaml.compose(project.params.read_text(encoding="utf-8"))
    line = None
    for key in location:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((k, v) for k, v in pairs if k.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    variable = "LIFECYCLE_" + "__".join(str(key).upper() for key in location)
    where = f"{project.params.name}, line {line}" if line else f"environment variable {variable}"
    return f"{where}, {'.'.join(map(str, location))}"
