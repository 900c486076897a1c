#!/bin/sh
# stack.sh VERSION [MODEL_FOLDER]: make or change what template.yaml describes. The first time VERSION is its model and
# BUCKET=… has to be named; later the model that serves stays. PARAMETERS="Name=value …" gives answers, others stay.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/../.."
exec "$(command -v uv || echo .tools/bin/uv)" run --no-sync python -m lifecycle.deploy_lambda_stack "$@"
