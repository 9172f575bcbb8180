#!/usr/bin/env bash
# What the tests need beside Go, git and make: a C compiler (the race detector is written in C), redis-server, a Postgres that
# is 15 or newer, PgBouncer, Chromium with a font to write in, shellcheck for the scripts, and promtool, Prometheus's tool that checks
# and tests the alerts. Debian 12 or newer has all of it.
# Where nobody can be asked (root, CI) what is missing is installed; on a person's machine the command is theirs to give. No server is
# started by it, now or at a boot: the tests start their own.
set -euo pipefail

postgres() { # Debian keeps the server's programs out of the PATH
	command -v initdb >/dev/null && return
	local bin version
	for bin in /usr/lib/postgresql/*/bin/initdb; do
		version="${bin#/usr/lib/postgresql/}"
		[[ -x $bin && ${version%%/*} -ge 15 ]] && return
	done
	return 1
}
browser() { # by the names that the tests look for
	local name
	for name in headless_shell chromium chromium-browser google-chrome google-chrome-stable; do
		type -P "$name" >/dev/null && return # a program: a function of such a name is none
	done
	return 1
}
# look finds what is missing: packages to install; and, as package:program, what is taken out of a package that is not installed, since
# that would start a Prometheus on port 9090 and a PgBouncer on port 6432 for everybody who reaches this machine. PgBouncer's libraries are installed.
look() {
	packages=() taken=()
	local cc
	cc="$(go env CC)"
	command -v "${cc%% *}" >/dev/null || packages+=(gcc libc6-dev)
	command -v redis-server >/dev/null || packages+=(redis-server)
	postgres || packages+=(postgresql)
	browser || packages+=(chromium fonts-dejavu-core)
	command -v shellcheck >/dev/null || packages+=(shellcheck)
	command -v promtool >/dev/null || taken+=(prometheus:usr/bin/promtool)
	[[ -x /usr/sbin/pgbouncer ]] || command -v pgbouncer >/dev/null || taken+=(pgbouncer:usr/sbin/pgbouncer)
	missing=("${packages[@]}" "${taken[@]##*/}")
}
look
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null; then
	echo "The tests need these, and they are missing: ${missing[*]} (Debian's names; promtool is in prometheus, and Postgres must be 15 or newer). Install them and try again." >&2
	exit 1
fi
as=()
if [[ $EUID -ne 0 ]]; then
	as=(sudo)
	if [[ -z ${CI:-} ]]; then
		echo "The tests need these, and they are missing: ${missing[*]}. This installs them from Debian's packages, and starts none of their servers:" >&2
		echo "    sudo env \"PATH=\$PATH\" ${BASH_SOURCE[0]}" >&2
		exit 1
	fi
fi

echo "The tests need ${missing[*]}: installing."
"${as[@]}" apt-get update -qq
if [[ " ${taken[*]} " == *" pgbouncer:"* ]]; then # what it needs of libraries, by the package's own word
	mapfile -t -O "${#packages[@]}" packages < <(apt-cache depends pgbouncer | sed -n 's/^ *Depends: \(lib.*\)/\1/p')
fi

there="$(mktemp -d)"
made=()
trap '"${as[@]}" rm -rf "$there" "${made[@]}"' EXIT
# put PATH MODE: what it reads becomes that file until this script ends, unless there is one.
put() {
	[[ -e $1 ]] && return
	"${as[@]}" install -D -m "$2" /dev/stdin "$1"
	made+=("$1")
}
if [[ ${#packages[@]} -gt 0 ]]; then
	# What Debian asks before it starts a service for a package, and what postgresql asks before it makes a cluster, which each boot would start.
	put /usr/sbin/policy-rc.d 755 <<<$'#!/bin/sh\nexit 101'
	put /etc/postgresql-common/createcluster.d/closeout-tests.conf 644 <<<'create_main_cluster = false'
	"${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-upgrade "${packages[@]}"
	if [[ " ${packages[*]} " == *" redis-server "* ]] && command -v update-rc.d >/dev/null; then
		"${as[@]}" update-rc.d redis-server disable # or the next boot starts it
	fi
fi
for t in "${taken[@]}"; do
	package="${t%%:*}"
	(cd "$there" && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg-deb -x "${package}"_*.deb .)
	"${as[@]}" install "$there/${t#*:}" "/usr/local/bin/${t##*/}"
done

look
if [[ ${#missing[@]} -gt 0 ]]; then
	echo "These are missing still, after they were installed, some of them in /usr/local/bin: ${missing[*]}. Is that in the PATH? Debian 12 or newer has all of them, Postgres 15 among them; on an older or another system install them by hand, and try again." >&2
	exit 1
fi
