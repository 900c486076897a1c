#!/bin/sh
# status.sh [EXPECTED]: what serves, and what a rollback would go to.
# Exit code: 0 fine, 1 not healthy or not EXPECTED, 3 nothing is deployed.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/../.."
# As lifecycle/tools.py looks for it.
if [ -x .tools/bin/uv ]; then UV=${UV:-.tools/bin/uv}; fi
UV=${UV:-$(command -v uv)} || { echo "error: uv is not here; next: make setup" >&2 && exit 1; }
exec "$UV" run --no-sync lifecycle lambda status "$@"
