"""The sections of params.yaml that say how the loop reacts; settings.py has the others, and reads all."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .monitoring.maintenance import covers


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Policy(Section):
    """What is done about what a check finds: monitoring/policy.py has the table.

    maintenance: "Sun 02:00-04:30", "22:00-01:00" or "2026-12-24T18:00/2026-12-27", in UTC.
    """

    rollback_on_drift: bool = False
    drifts_in_a_row: int = Field(3, ge=1)
    least_checks: int = Field(12, ge=1)
    release_hours: float = Field(72, ge=0)
    repeat_hours: float = Field(24, ge=0)
    alerts_per_hour: int = Field(20, ge=1)
    runbooks: str = "docs/runbooks"
    maintenance: list[str] = []

    @field_validator("maintenance")
    @classmethod
    def windows(cls, maintenance: list[str]) -> list[str]:
        for window in maintenance:
            covers(window, 0.0)
        return maintenance
