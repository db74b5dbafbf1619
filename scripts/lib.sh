# Sourced by the other scripts: after `prepare PACKAGE…` the variable `python` is an interpreter that has
# ociworks (this checkout) and everything that the tests and tools need.
#
# It asks for nothing but a Debian machine with Python 3.11 or newer. As root it installs the Debian packages
# that it is given; for an ordinary user it names the missing ones in one line and goes on. The virtual
# environment is .venv where the checkout can be written, otherwise one in the user's cache, and it is built
# again when pyproject.toml or the interpreter changes.
#
# Environment: PYTHON names the interpreter to build the environment from.

set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
this=$(basename "$0")
unset PYTHONHOME PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
export LC_ALL=C.UTF-8
exec </dev/null

say() { printf '%s: %s\n' "$this" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

prepare() {
    install_packages "$@"
    find_environment
    cd "$checkout"
}

# --- Debian packages ----------------------------------------------------------------------------------

install_packages() {
    local missing=() package
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "going on without these Debian packages (as root: apt-get install ${missing[*]})"
        return
    fi
    say "installing ${missing[*]}"
    apt_install "${missing[@]}" || say "going on without the packages that could not be installed: ${missing[*]}"
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The lists are refreshed only when an installation without that fails. No service is started by the
# installation (docker-registry has one): the tests start their own.
apt_install() (
    log=$(mktemp)
    policy=/usr/sbin/policy-rc.d
    trap 'rm -f "$log"' EXIT
    if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' >"$policy"; then
        trap 'rm -f "$log" "$policy"' EXIT
        chmod 755 "$policy"
    fi
    apt_get install --yes --no-install-recommends "$@" ||
        { apt_get update && apt_get install --yes --no-install-recommends "$@"; } ||
        { tail -n 5 "$log" >&2 && return 1; }
)

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1
}

# --- The virtual environment --------------------------------------------------------------------------

find_environment() {
    local base stamp place
    base=$(find_python)
    stamp=$(environment_stamp "$base")
    for place in "$checkout/.venv" "$(private_place)"; do
        if [ -n "$place" ] && up_to_date "$place" "$stamp"; then
            python=$place/bin/python
            return
        fi
    done
    place=$(writable_place)
    build_environment "$place" "$base" "$stamp"
    python=$place/bin/python
}

# In this order: what the caller asked for, what PATH has, where Debian and others put it.
find_python() {
    local candidate without_venv=""
    for candidate in "${PYTHON:-}" python3 python3.{11,12,13,14} /usr/bin/python3 /usr/bin/python3.{11,12,13,14} \
        /usr/local/bin/python3; do
        [ -n "$candidate" ] || continue
        candidate=$(command -v "$candidate") || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
        without_venv=$candidate
    done
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! installed python3-venv; then
        say "installing python3-venv"
        apt_install python3-venv && find_python && return
    fi
    [ -z "$without_venv" ] || die "$without_venv cannot make virtual environments (as root: apt-get install python3-venv)"
    die "no Python 3.11 or newer was found (as root: apt-get install python3-venv, or set PYTHON)"
}

environment_stamp() {
    { "$1" -c 'import sys; print(sys.version, sys.base_prefix)' && cat "$checkout/pyproject.toml" "$checkout/scripts/lib.sh" &&
        printf '%s\n' "$checkout"; } | sha256sum | cut -d ' ' -f 1
}

up_to_date() {
    [ "$(cat "$1/ociworks-stamp" 2>/dev/null)" = "$2" ] && "$1/bin/python" -c 'import ociworks' 2>/dev/null
}

# Where an ordinary user's environment for a checkout that is not theirs lives; empty without a usable HOME.
private_place() {
    local cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
    [ -n "$cache" ] || return 0
    printf '%s/ociworks/venv-%s\n' "$cache" "$(printf '%s' "$checkout" | sha256sum | cut -c 1-12)"
}

writable_place() {
    local place
    if [ -d "$checkout/.venv" ] && [ -O "$checkout/.venv" ] && [ -w "$checkout/.venv" ] ||
        [ ! -e "$checkout/.venv" ] && [ -O "$checkout" ] && [ -w "$checkout" ]; then
        printf '%s\n' "$checkout/.venv"
        return
    fi
    place=$(private_place)
    if [ -n "$place" ] && mkdir -p "$place" 2>/dev/null && [ -w "$place" ]; then
        printf '%s\n' "$place"
        return
    fi
    mktemp -d "${TMPDIR:-/tmp}/ociworks-venv-XXXXXXXX"
}

build_environment() {
    local place=$1 base=$2 stamp=$3 log
    case $place in
        "${TMPDIR:-/tmp}"/ociworks-venv-*) temporary_environment=$place && trap 'rm -rf "$temporary_environment"' EXIT ;;
    esac
    mkdir -p "$place"
    exec 9>"$place/ociworks-lock"
    flock 9
    if up_to_date "$place" "$stamp"; then
        exec 9>&-
        return
    fi
    say "building the virtual environment $place"
    log=$(mktemp)
    rm -f "$place/ociworks-stamp"
    if ! fill_environment "$place" "$base" >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        die "the virtual environment could not be built (is the package index reachable?)"
    fi
    rm -f "$log"
    printf '%s\n' "$stamp" >"$place/ociworks-stamp"
    exec 9>&-
}

# An environment made by another interpreter is emptied first; otherwise only what is missing is installed. Nothing
# needs the setuptools that come with Python 3.11, and they have every start of the interpreter load a module.
fill_environment() {
    local place=$1 base=$2
    if [ "$("$base" -c 'import sys; print(sys.version, sys.base_prefix)')" != \
        "$("$place/bin/python" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null)" ]; then
        find "$place" -mindepth 1 -maxdepth 1 ! -name ociworks-lock -exec rm -rf {} +
    fi
    { [ -x "$place/bin/python" ] || "$base" -m venv "$place"; } &&
        "$place/bin/python" -m pip install --quiet 'pip>=25.1' &&
        "$place/bin/python" -m pip uninstall --quiet --yes setuptools &&
            "$place/bin/python" -m pip install --quiet --editable "$checkout[cli,cri,fast]" --group "$checkout/pyproject.toml:dev"
}
