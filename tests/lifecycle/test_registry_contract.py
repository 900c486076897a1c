"""What every registry promises, on a folder and on MLflow's embedded database."""

from registry import support
from registry.contract import *  # noqa: F403

versions, empty_database = support.versions, support.empty_database
own_environment, place = support.own_environment, support.embedded_place
