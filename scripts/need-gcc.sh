#!/usr/bin/env bash
# The race detector is written in C, so that `make test` needs a C compiler; nothing else here does. Where nobody can be
# asked (root, CI) it is installed; on a person's machine the command is theirs to give.
set -euo pipefail

cc="$(go env CC)"
if command -v "${cc%% *}" >/dev/null; then
	exit 0
fi

install="apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev"
if ! command -v apt-get >/dev/null; then
	echo "The race detector needs a C compiler and there is none. Install gcc (or set CC) and try again." >&2
	exit 1
fi

as=""
if [[ $EUID -ne 0 ]]; then
	as="sudo"
	if [[ -z ${CI:-} ]]; then
		echo "The race detector needs a C compiler and there is none. Install one with:" >&2
		echo "    sudo sh -c '$install'" >&2
		exit 1
	fi
fi

echo "The race detector needs a C compiler and there is none: installing gcc."
export DEBIAN_FRONTEND=noninteractive
$as apt-get update -qq
$as apt-get install -y -qq --no-install-recommends gcc libc6-dev
