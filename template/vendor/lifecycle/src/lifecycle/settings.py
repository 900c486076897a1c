"""The settings: what params.yaml says, else the defaults here; each with its unit and meaning.

An environment variable such as LIFECYCLE_GATE__MARGIN_OVER_LIVE=0.02 overrides the file, for one run.
"""

from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, Field, Json, ValidationError
from pydantic_settings import BaseSettings
from pydantic_settings import PydanticBaseSettingsSource as Source

from .errors import SettingsError
from .maintenance import check_window
from .project import Project


class Section(BaseModel, extra="forbid", frozen=True):
    """A section of params.yaml. Unknown keys are refused: a typing error must not pass as a default."""


class Split(Section):
    """How rows for the gate are held out: the newest where schema.py has a TIME column, else random ones."""

    holdout: float = Field(0.2, gt=0, lt=1)  # share of the rows
    seed: int = 0  # of the random ones


class Gate(Section):
    """What `evaluate` asks of a candidate. Margins are relative: 0.1 is an error that is 10 % smaller."""

    # An error (MAE, or log loss) to be better than; null: the naive model's (median, class shares).
    baseline: float | None = Field(None, gt=0)
    margin_over_baseline: float = 0.1
    compare_with_live: bool = True  # also with the version in production, on the same hold-out
    margin_over_live: float = 0.0
    # Largest difference of ONNX and the estimator: a share of the target's deviation, or a probability.
    parity: float = Field(0.001, gt=0)
    max_latency_ms: float = Field(20, gt=0)  # for one row, median
    max_size_mb: float = Field(50, gt=0)  # of the candidate's files


class Drift(Section):
    """Thresholds of the drift check. A feature drifts when an effect (psi or ks) and the p-value pass theirs.

    Above max_rejected the verdict is "broken data". The other max_… say by how much a share may rise.
    """

    min_rows: int = Field(500, ge=1)  # below it the verdict is "insufficient data", never "no drift"
    window_hours: float = Field(168, gt=0)  # of served counts
    psi: float = Field(0.2, gt=0)  # population stability index
    ks: float = Field(0.1, gt=0, le=1)  # Kolmogorov-Smirnov distance
    p_value: float = Field(0.01, gt=0, lt=1)  # after correction for the number of features
    max_rejected: float = Field(0.05, ge=0, le=1)  # share of rows that break the schema
    max_missing: float = Field(0.1, ge=0, le=1)  # missing values
    max_new: float = Field(0.05, ge=0, le=1)  # categories that training never saw
    max_outside: float = Field(0.05, ge=0, le=1)  # beyond training's range by more than half its width
    # Share of the most important feature's importance: below it drift is reported but makes no verdict.
    min_importance: float = Field(0.01, ge=0, le=1)


class Performance(Section):
    """When labelled rows say that the model got worse."""

    min_rows: int = Field(200, ge=1)  # labelled ones: below it the verdict is "insufficient data"
    window_hours: float = Field(672, gt=0)  # of predictions to look at; labels come late
    # Relative rise of the error over the hold-out's, or over the previous version's on the same rows.
    worse: float = Field(0.1, ge=0)
    drop: float = Field(0.05, ge=0, le=1)  # absolute fall of a class's precision or recall in a week
    p_value: float = Field(0.01, gt=0, lt=1)  # below it a difference is more than chance


class Anomalies(Section):
    """Which unusual rows are logged whole. Sealed by `train`: a change counts from the next training on."""

    most_a_day: int = Field(1000, ge=0)  # rows of each process; 0 logs none
    confidence: float = Field(0.55, ge=0, le=1)  # of the most probable class: rows below it are logged
    sigma: float = Field(3.0, gt=0)  # residuals over so many hold-out standard deviations, once labels come
    hashed: list[str] = []  # personal columns, logged as a hash keyed with ANOMALY_KEY
    dropped: list[str] = []  # columns that are never logged


class Retrain(Section):
    """When to retrain, and how long it may take. A cron line is: minute hour day month weekday."""

    schedule: str = "23 4 * * 1"  # of retraining
    check: str = "*/15 * * * *"  # of looking for new data and drift
    cooldown_hours: float = Field(6, ge=0)  # from one start to the next, whatever asks for it
    limit_minutes: float = Field(60, gt=0)  # of one attempt at a step; with cron, at all steps
    lock_hours: float = Field(6, gt=0)  # for so long a run that died on another host blocks others
    retries: int = Field(2, ge=0)  # of what fails
    retry_seconds: float = Field(60, gt=0)  # before the first retry, and twice as long before each next one


class Policy(Section):
    """What is done about what a check finds: automation/policy.py has the table."""

    rollback_on_drift: bool = False  # on drift alone, and only if the previous version scores better
    drifts_in_a_row: int = Field(3, ge=1)  # after so many checks that find drift…
    least_checks: int = Field(12, ge=1)  # …among at least so many of that version
    # Worse performance, errors or latency within them roll a release back; longer than labels take.
    release_hours: float = Field(72, ge=0)
    repeat_hours: float = Field(24, ge=0)  # until a person is told of the same again; then twice as long…
    alerts_per_hour: int = Field(20, ge=1)  # more are held back
    runbooks: str = "docs/runbooks.md"  # where an alert says to look; better an address on your git server
    # "Sun 02:00-04:30", "22:00-01:00" or "2026-12-24T18:00/2026-12-27", in UTC: nothing is done in it.
    maintenance: list[Annotated[str, AfterValidator(check_window)]] = []


# LIFECYCLE_MODEL__MAX_ITER=100 is a number, as max_iter: 100 is.
Value = Annotated[Json[Any] | Any, Field(union_mode="left_to_right")]


class Settings(BaseSettings, env_prefix="LIFECYCLE_", env_nested_delimiter="__", extra="forbid", frozen=True):
    """All sections. `model` is handed to your model.py as it is."""

    split: Split = Split()
    model: dict[str, Value] = {}
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
        return env_settings, init_settings  # the environment comes before what the file says


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
    where = "environment variable LIFECYCLE_" + "__".join(str(key).upper() for key in location)
    for key in location:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = {name.value: (name.start_mark.line + 1, value) for name, value in pairs}
        if key not in found:
            break
        line, node = found[key]
        where = f"{project.params.name}, line {line}"
    return f"{where}, {'.'.join(map(str, location))}"
