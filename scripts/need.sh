#!/usr/bin/env bash
# What the tests need beside Go, git and make: a C compiler (the race detector is written in C), redis-server, a Postgres that
# is 15 or newer, PgBouncer, Chromium with a font to write in, shellcheck for the scripts, and promtool, Prometheus's tool that checks
# and tests the alerts.
# Where nobody can be asked (root, CI) what is missing is installed; on a person's machine the command is theirs to give.
set -euo pipefail

packages=()
cc="$(go env CC)"
command -v "${cc%% *}" >/dev/null || packages+=(gcc libc6-dev)
command -v redis-server >/dev/null || packages+=(redis-server)
postgres() { # Debian keeps the server's programs out of the PATH
	command -v initdb >/dev/null && return
	local bin version
	for bin in /usr/lib/postgresql/*/bin/initdb; do
		version="${bin#/usr/lib/postgresql/}"
		[[ -x $bin && ${version%%/*} -ge 15 ]] && return
	done
	return 1
}
postgres || packages+=(postgresql)
chromium() { # by the names that the tests look for
	local name
	for name in headless_shell chromium chromium-browser google-chrome google-chrome-stable; do
		command -v "$name" >/dev/null && return
	done
	return 1
}
chromium || packages+=(chromium fonts-dejavu-core)
command -v shellcheck >/dev/null || packages+=(shellcheck)
# These are taken out of Debian's packages, and the packages are not installed: that would start a Prometheus on port 9090 and a
# PgBouncer on port 6432 of this machine, now and at each boot, for everybody who reaches it. The libraries of PgBouncer are installed.
taken=()
command -v promtool >/dev/null || taken+=(prometheus:usr/bin/promtool)
[[ -x /usr/sbin/pgbouncer ]] || command -v pgbouncer >/dev/null || taken+=(pgbouncer:usr/sbin/pgbouncer)
[[ ${#packages[@]} -eq 0 && ${#taken[@]} -eq 0 ]] && exit 0

missing=("${packages[@]}" "${taken[@]##*/}")
if ! command -v apt-get >/dev/null; then
	echo "The tests need these, and they are missing: ${missing[*]} (Debian's names; promtool is in prometheus). Install them and try again." >&2
	exit 1
fi
# What a program that is taken out of its package needs of libraries, by the package's own word.
libraries='apt-cache depends pgbouncer | sed -n "s/^ *Depends: \(lib.*\)/\1/p"'
as=()
if [[ $EUID -ne 0 ]]; then
	as=(sudo)
	if [[ -z ${CI:-} ]]; then
		echo "The tests need these, and they are missing: ${missing[*]}. Install them with:" >&2
		echo "    sudo apt-get update" >&2
		if [[ ${#packages[@]} -gt 0 ]]; then
			echo "    sudo apt-get install -y --no-install-recommends --no-upgrade ${packages[*]}" >&2
		fi
		for t in "${taken[@]}"; do
			package="${t%%:*}"
			if [[ $package == pgbouncer ]]; then
				echo "    sudo apt-get install -y --no-install-recommends --no-upgrade \$($libraries)" >&2
			fi
			echo "    (cd \"\$(mktemp -d)\" && apt-get download $package && dpkg-deb -x ${package}_*.deb . && sudo install ${t#*:} /usr/local/bin)" >&2
		done
		exit 1
	fi
fi

echo "The tests need ${missing[*]}: installing."
"${as[@]}" apt-get update -qq
if [[ " ${taken[*]} " == *" pgbouncer:"* ]]; then
	mapfile -t -O "${#packages[@]}" packages < <(eval "$libraries")
fi
if [[ ${#packages[@]} -gt 0 ]]; then
	"${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-upgrade "${packages[@]}"
fi
there="$(mktemp -d)"
trap 'rm -rf "$there"' EXIT
for t in "${taken[@]}"; do
	package="${t%%:*}"
	(cd "$there" && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg-deb -x "${package}"_*.deb .)
	"${as[@]}" install "$there/${t#*:}" "/usr/local/bin/${t##*/}"
done
