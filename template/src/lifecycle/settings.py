"""Settings from params.yaml; an environment variable such as LIFECYCLE_GATE__MARGIN_OVER_LIVE goes first."""

import json
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import YamlConfigSettingsSource as YamlSource

from .errors import SettingsError
from .project import PARAMS
from .sections import Anomalies, Performance, Policy, Section


class Split(Section):
    """holdout: share of the rows, the newest where schema.py names a TIME column."""

    holdout: float = Field(0.2, gt=0, lt=1)
    seed: int = 0


class Gate(Section):
    """What evaluate asks of a candidate. Margins are relative: 0.1 is an error 10 % smaller.

    baseline: an error (MAE, or log loss) to beat; null takes the naive model's (median, class shares).
    parity: largest difference from the estimator, as a share of the target's standard deviation, or
    as a probability.
    """

    baseline: float | None = Field(None, gt=0)
    margin_over_baseline: float = 0.1
    compare_with_live: bool = True
    margin_over_live: float = 0.0
    parity: float = Field(0.001, gt=0)
    max_latency_ms: float = Field(20, gt=0)
    max_size_mb: float = Field(50, gt=0)


class Drift(Section):
    """A feature drifts when an effect (psi or ks) and a corrected p-value are both over their bars.

    max_rejected: share of rows that broke the schema; max_missing, max_new, max_outside: by how much the
    share of missing values, of unknown categories and of numbers far outside training's range may rise.
    min_importance: of the most important feature; below it drift is reported, but makes no verdict.
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


class Retrain(Section):
    """When to retrain, and how long it may take. A cron line is minute hour day month weekday."""

    schedule: str = "23 4 * * 1"
    check: str = "*/15 * * * *"
    cooldown_hours: float = Field(6, ge=0)
    limit_minutes: float = Field(60, gt=0)
    lock_hours: float = Field(6, gt=0)
    retries: int = Field(2, ge=0)
    retry_seconds: float = Field(60, gt=0)


class Settings(BaseSettings):
    """All of params.yaml. Unknown keys are refused: a typing error must not pass as a default."""

    model_config = SettingsConfigDict(
        env_prefix="LIFECYCLE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        yaml_file=PARAMS,
        yaml_file_encoding="utf-8",
    )
    split: Split = Split()
    model: dict[str, Any] = {}
    gate: Gate = Gate()
    drift: Drift = Drift()
    performance: Performance = Performance()
    anomalies: Anomalies = Anomalies()
    retrain: Retrain = Retrain()
    policy: Policy = Policy()

    @field_validator("model")
    @classmethod
    def as_in_the_file(cls, model: dict[str, Any]) -> dict[str, Any]:
        """Read what the environment says: LIFECYCLE_MODEL__MAX_ITER=100 is a number, as max_iter: 100 is."""
        return {key: _value(item) if isinstance(item, str) else item for key, item in model.items()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, YamlSource(settings_cls)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def load() -> Settings:
    """Read params.yaml and the environment; SettingsError names the line or the variable."""
    if not PARAMS.is_file():
        raise SettingsError("params.yaml is not here", "run the command from the project's root folder")
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{_place(item['loc'])}: {item['msg']}" for item in error.errors()]
        raise SettingsError("\n".join(lines), "mend it and run the command again") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"params.yaml is not YAML: {error}") from error


def _place(location: tuple[int | str, ...]) -> str:
    """Return "params.yaml, line 7, gate.parity", or the variable when the key is not in the file."""
    node = yaml.compose(PARAMS.read_text(encoding="utf-8"))
    line = None
    for key in location:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((k, v) for k, v in pairs if k.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    variable = "LIFECYCLE_" + "__".join(str(key).upper() for key in location)
    where = f"params.yaml, line {line}" if line else f"environment variable {variable}"
    return f"{where}, {'.'.join(map(str, location))}"
