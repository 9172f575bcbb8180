#!/usr/bin/env bash
# Runs every fuzz target for a while, one after the other: Go fuzzes one target at a time.
set -euo pipefail

time="${FUZZTIME:-10s}"
packages="$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)"
count=0
for package in $packages; do
	listed="$(go test -list '^Fuzz' "$package")"
	for target in $(grep '^Fuzz' <<<"$listed" || true); do
		echo "== $package $target, $time"
		go test -run '^$' -fuzz "^${target}\$" -fuzztime "$time" "$package"
		count=$((count + 1))
	done
done
echo "$count fuzz targets ran."
