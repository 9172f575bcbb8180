#!/usr/bin/env bash
# Runs the tests named TestReal..., which need servers that `make test` must do without, in the packages that have one. It
# says so if there are none: a run that tested nothing must not look like one that passed.
set -euo pipefail

mapfile -t packages < <(
	{ grep -rlE --include='*_test.go' --exclude-dir=checks '^func TestReal' . || true; } | xargs -r -n1 dirname | sort -u
)
if [[ ${#packages[@]} -eq 0 ]]; then
	echo "No test needs a real server yet: nothing was run."
	exit 0
fi
CGO_ENABLED=1 go test -race -count=1 -timeout 40m -run '^TestReal' "${packages[@]}"
exec go -C deploy/checks test -count=1 -timeout 15m -run '^TestReal' ./... # a module of its own
