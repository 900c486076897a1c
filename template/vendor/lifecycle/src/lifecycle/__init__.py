"""From data to a watched model in production. Improved by `copier update`; your own code lies beside it."""

import os

# Before any library is loaded: nothing of yours is sent anywhere, and no progress bars in logs.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime's, from 1.32 on
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# One thread sums in one order, so the same data, code and lock give the same model, to the byte.
# Set OMP_NUM_THREADS yourself for large data, where speed is worth more than that.
os.environ.setdefault("OMP_NUM_THREADS", "1")
