"""From data to a watched model in production. Improved by `copier update`; your own code lies beside it."""

import os

# Before any library is loaded: nothing of yours is sent anywhere, and no progress bars in logs.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Threads of scikit-learn's boosting that wait by spinning take three times as long on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
