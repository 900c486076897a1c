"""The errors that a user can act on, and the exit code of each.

 0  done                         4  DataError       the data breaks schema.py, or cannot be read
 1  LifecycleError, or a crash   5  GateRejected    the candidate is not good enough
 2  drift found                  6  RegistryError   no such version, refused, or cannot be reached
 3  too few rows for a verdict     ├ Conflict       somebody else moved the alias first
64  wrong usage of a command       └ DigestMismatch a file is missing or is not what was published
75  Busy: retraining is running, 7  SettingsError   params.yaml, pyproject.toml or the environment
    or was started not long ago  8  ExportError     the estimator does not export to ONNX
"""

LIBRARY = "lean-mlops-lifecycle"  # as pip, uv and uv.lock name it
DRIFT, INSUFFICIENT_DATA, USAGE = 2, 3, 64


class LifecycleError(Exception):
    """An error that a user can act on: what happened and where, then what to type next."""

    exit_code = 1

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class DataError(LifecycleError):
    exit_code = 4


class GateRejected(LifecycleError):
    exit_code = 5


class RegistryError(LifecycleError):
    exit_code = 6


class Conflict(RegistryError):
    """Somebody else moved the alias first."""


class DigestMismatch(RegistryError):
    """A file of a candidate is missing or is not what its manifest says."""


class SettingsError(LifecycleError):
    exit_code = 7


class ExportError(LifecycleError):
    exit_code = 8


class Busy(LifecycleError):
    exit_code = 75  # EX_TEMPFAIL of sysexits.h


def missing_extra(extra: str, error: ImportError) -> SettingsError:
    """Return the error for a library that is not installed because an extra was not asked for."""
    next_step = f'add the extra "{extra}" to {LIBRARY} in pyproject.toml'
    return SettingsError(f"{error.name} is not installed", next_step)
