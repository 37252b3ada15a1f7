# shellcheck shell=bash
# What the scripts beside this file share: Python, packages, the container engine, progress.
# Sourced, never run. A function that prints its result prints nothing else on stdout.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$repository/.venv
constraints=$repository/scripts/constraints.txt
export PATH="$venv/bin:$PATH"

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# ---- Progress ----------------------------------------------------------------------------------

scratch=$(mktemp -d)
ticker=

# Every script's last act, by a trap on EXIT.
tidy() {
  stop_ticker
  rm -rf "$scratch"
}

# Says every few seconds that TEXT goes on, until its stdin ends. Runs beside the step itself, which
# stays in the foreground so that Ctrl-C reaches it. No signal ends it: one that arrived before it had
# settled down would have run the EXIT trap of this script in its place.
tick() {
  local text=$1 started=$SECONDS status
  while :; do
    status=0
    read -r -t 5 || status=$?
    [ "$status" -gt 128 ] || return 0
    say "$text … $((SECONDS - started)) s"
  done
}

# It reads from file descriptor 8, which no step inherits.
start_ticker() {
  exec 8> >(tick "$1")
  ticker=$!
}

stop_ticker() {
  [ -n "$ticker" ] || return 0
  exec 8>&-
  wait "$ticker" 2>/dev/null || true
  ticker=
}

# quietly TEXT COMMAND…: run COMMAND with its output in $scratch/step.log; its exit code.
quietly() {
  local text=$1 started=$SECONDS status=0
  shift
  say "$text"
  start_ticker "$text"
  "$@" >"$scratch/step.log" 2>&1 </dev/null 8>&- || status=$?
  stop_ticker
  [ $((SECONDS - started)) -lt 2 ] || say "$text: ended after $((SECONDS - started)) s"
  return "$status"
}

# step TEXT COMMAND…: run COMMAND, its output shown only if it fails, and then this script ends.
step() {
  local status=0
  quietly "$@" || status=$?
  [ "$status" -ne 0 ] || return 0
  cat "$scratch/step.log" >&2
  shift
  die "exit code $status from: $*"
}

# ---- Debian packages ---------------------------------------------------------------------------

is_root_on_debian() {
  [ "$(id -u)" -eq 0 ] && [ -r /etc/debian_version ] && command -v apt-get >/dev/null
}

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  step "reading the lists of Debian packages" apt-get update
  step "installing $* by apt-get" apt-get install -y --no-install-recommends "$@"
}

# ---- Python ------------------------------------------------------------------------------------

# Prints the first interpreter that is new enough; $PYTHON, where set, is the only candidate.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

install_python() {
  local package
  is_root_on_debian || die "no Python 3.11 or newer found; install one, or name it in PYTHON"
  export DEBIAN_FRONTEND=noninteractive
  step "reading the lists of Debian packages" apt-get update
  for package in python3 python3.13 python3.12 python3.11; do
    say "installing $package by apt-get"
    apt-get install -y --no-install-recommends "$package" "$package-venv" >/dev/null 2>&1 || continue
    ! find_python >/dev/null || return 0
  done
  die "the packages of this system have no Python 3.11 or newer; install one, or name it in PYTHON"
}

venv_works() { "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

ensure_venv() {
  local python version
  ! venv_works || return 0
  find_python >/dev/null || install_python
  python=$(find_python)
  if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    is_root_on_debian || die "$python can't make virtual environments; install python$version-venv"
    apt_install "python$version-venv"
  fi
  step "making the virtual environment with $python" "$python" -m venv --clear "$venv"
}

# install_packages run|dev: what the platform runs with, or that and its tools and tests. A stamp
# makes the second time a matter of milliseconds.
install_packages() {
  local wanted=$1 stamp arguments
  ensure_venv
  stamp=$(cat "$repository/pyproject.toml" "$constraints" | sha256sum | cut -c1-16)
  [ ! -e "$venv/installed-dev-$stamp" ] || return 0
  [ ! -e "$venv/installed-$wanted-$stamp" ] || return 0
  arguments=(--disable-pip-version-check --constraint "$constraints")
  step "bringing pip to the tested version" "$venv/bin/python" -m pip install "${arguments[@]}" "pip>=25.3"
  arguments+=(--build-constraint "$constraints" --editable "$repository")
  [ "$wanted" != dev ] || arguments+=(--group "$repository/pyproject.toml:dev")
  step "installing the packages that the platform uses" "$venv/bin/python" -m pip install "${arguments[@]}"
  rm -f "$venv"/installed-*
  touch "$venv/installed-$wanted-$stamp"
}

# ---- Certificates ------------------------------------------------------------------------------

# A machine behind a proxy that re-signs traffic names its authorities in one of these; jobs, whose
# installers go the same way, need them too.
pass_on_authorities() {
  local bundle=${CI_CA_BUNDLE:-${SSL_CERT_FILE:-${REQUESTS_CA_BUNDLE:-${PIP_CERT:-}}}}
  [ -z "$bundle" ] || [ ! -r "$bundle" ] || export CI_CA_BUNDLE="$bundle"
}

# ---- The container engine ----------------------------------------------------------------------
# An engine that a script started is stopped by the last script that uses it: each holds a shared
# lock while it runs, and whoever gets the lock alone at its end stops what is marked as started.

engine_run_dir=/run/ci-scripts
engine_log=/var/log/ci-scripts-dockerd.log

# Asked through the library that the platform itself uses, so that both mean the same engine.
engine_answers() {
  "$venv/bin/python" -c 'import docker; docker.from_env(timeout=10).ping()' 2>"$scratch/engine.error"
}

engine_error() { tail -n 1 "$scratch/engine.error"; }

process_lives() { [ -r "/proc/$1/stat" ] && [ "$(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null)" != Z ]; }

# A daemon that was killed leaves its number behind, which may be another process's by now.
remove_stale_pid() {
  local file=$1 program=$2 pid
  [ -r "$file" ] || return 0
  pid=$(cat "$file")
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$program" ] || rm -f "$file"
}

wait_for_engine() {
  local pid=$1 deadline=$((SECONDS + 120))
  until engine_answers; do
    [ -z "$pid" ] || process_lives "$pid" || return 1
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.3
  done
}

# start_engine is-new|was-there: on a new installation the package may have started it already.
start_engine() {
  local pid
  if [ -d /run/systemd/system ]; then
    step "starting the Docker engine by systemd" systemctl start docker.service
    echo systemd >"$engine_run_dir/started"
    step "waiting for the Docker engine" wait_for_engine ""
    return
  fi
  remove_stale_pid /var/run/docker.pid dockerd
  remove_stale_pid /var/run/docker/containerd/containerd.pid containerd
  if [ -r /var/run/docker.pid ]; then
    pid=$(cat /var/run/docker.pid)
    [ "$1" = was-there ] || echo "$pid" >"$engine_run_dir/started"
  else
    setsid dockerd >"$engine_log" 2>&1 </dev/null 9>&- &
    pid=$!
    echo "$pid" >"$engine_run_dir/started"
    say "starting the Docker engine; its log is $engine_log"
  fi
  quietly "waiting for the Docker engine" wait_for_engine "$pid" || {
    [ ! -r "$engine_log" ] || tail -n 5 "$engine_log" >&2
    die "the Docker engine did not come up: $(engine_error)"
  }
}

ensure_engine() {
  local age=was-there
  if engine_answers; then
    use_engine
    return
  fi
  [ -z "${DOCKER_HOST:-}" ] || die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST: start it, or unset DOCKER_HOST"
  is_root_on_debian || die "no Docker engine answers ($(engine_error)): start one, set DOCKER_HOST," \
    "or run this as root on Debian or Ubuntu, where it installs and starts docker.io"
  if ! command -v dockerd >/dev/null; then
    age=is-new
    apt_install docker.io iptables
  fi
  use_engine
  start_engine "$age"
}

use_engine() {
  [ "$(id -u)" -eq 0 ] || return 0
  mkdir -p "$engine_run_dir"
  exec 9>"$engine_run_dir/lock"
  flock --shared 9
}

release_engine() {
  local started pid
  [ "$(id -u)" -eq 0 ] && [ -r "$engine_run_dir/started" ] || return 0
  flock --exclusive --nonblock 9 || return 0
  started=$(cat "$engine_run_dir/started")
  rm -f "$engine_run_dir/started"
  if [ "$started" = systemd ]; then
    systemctl stop docker.socket docker.service
    return
  fi
  [ "$(cat "/proc/$started/comm" 2>/dev/null)" = dockerd ] || return 0
  kill "$started"
  for _ in $(seq 300); do
    process_lives "$started" || return 0
    sleep 0.1
  done
  printf '%s\n' "the Docker engine (process $started) did not stop within 30 s" >&2
}

# ---- Base image --------------------------------------------------------------------------------

# The images are the engine's, whatever the installation: asked through one that nobody else uses.
ensure_base_image() {
  local data=$scratch/image-data images
  images=$(CI_DATA_DIR="$data" CI_DB_PATH='' ci-admin image list --json 2>"$scratch/image.log") || {
    cat "$scratch/image.log" >&2
    die "the engine's images can't be listed"
  }
  [ "$images" = "[]" ] || return 0
  say "building the base image for jobs, about a minute where no image registry answers"
  CI_DATA_DIR="$data" CI_DB_PATH='' ci-admin image build >&2 </dev/null
}
