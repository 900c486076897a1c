"""What each process of a test would import: the server that they are forked from imports it once."""

import os
from importlib import import_module

from lifecycle.registry.mlflow import DEFAULTS

os.environ |= DEFAULTS | os.environ
for _name in (
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "lifecycle.registry.mlflow_aliases",
    "lifecycle.registry.s3_bucket",
    "registry.faults",
):
    import_module(_name)
