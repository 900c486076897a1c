#!/bin/sh
# status.sh [EXPECTED]: what serves, and what a rollback would go to.
# Exit code: 0 fine, 1 not healthy or not EXPECTED, 3 nothing is deployed.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/../.."
exec "$(command -v uv || echo .tools/bin/uv)" run --no-sync python -m lifecycle.deploy_lambda status "$@"
