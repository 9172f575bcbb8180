#!/usr/bin/env bash
# Carries out one command of closeout as a Job beside what runs, with the values of the installation: prints what it says until its end,
# and ends with its status. The namespace is the release's name, or NAMESPACE.
#
#     deploy/helm/once.sh closeout monitor stats
set -euo pipefail

if [[ $# -lt 2 || $1 == -* ]]; then
	echo "usage: ${BASH_SOURCE[0]} RELEASE COMMAND...        NAMESPACE, if it is not the release's name" >&2
	exit 2
fi
release="$1"
shift
k=(kubectl --namespace "${NAMESPACE:-$release}")
its="app.kubernetes.io/name=closeout,app.kubernetes.io/instance=$release,app.kubernetes.io/component=once"

quoted() { # as JSON
	local text="${1//\\/\\\\}"
	printf '"%s"' "${text//\"/\\\"}"
}
words=""
for word in "$@"; do
	words+="${words:+,}$(quoted "$word")"
done

if [[ -n "$("${k[@]}" get jobs -l "$its" -o jsonpath='{.items[*].status.active}')" ]]; then
	echo "A command is being carried out already: kubectl -n ${NAMESPACE:-$release} get jobs -l $its" >&2
	exit 1
fi
values="$(helm get values "$release" --namespace "${NAMESPACE:-$release}" --output yaml)"
job="$(helm template "$release" "$(dirname "${BASH_SOURCE[0]}")/closeout" --namespace "${NAMESPACE:-$release}" --values - --show-only templates/once.yaml \
	--set-json "once={\"command\":[$words],\"by\":$(quoted "${USER:-unknown}")}" <<<"$values")"
"${k[@]}" delete jobs -l "$its" --ignore-not-found >&2 # those that are over
"${k[@]}" create -f - <<<"$job" >&2

ask() { "${k[@]}" get pods -l "$its" -o jsonpath="{.items[0].status.$1}" 2>/dev/null; }
for ((n = 0; ; n++)); do
	[[ "$(ask phase)" =~ ^(Running|Succeeded|Failed)$ ]] && break
	if ((n == 60)); then
		echo "It has not begun within five minutes: $(ask 'conditions[?(@.status=="False")].message') $(ask 'containerStatuses[0].state.waiting.reason')" >&2
		echo "kubectl -n ${NAMESPACE:-$release} describe pods -l $its says more. It still begins once it can, unless you delete the job." >&2
		exit 1
	fi
	sleep 5
done
"${k[@]}" logs -l "$its" --tail=-1 --follow || true # where the connection breaks the job goes on
until [[ "$(ask phase)" =~ ^(Succeeded|Failed)$ ]]; do
	sleep 5
done
status="$(ask 'containerStatuses[0].state.terminated.exitCode')"
echo "It ended with $status. All that it said: kubectl -n ${NAMESPACE:-$release} logs -l $its --tail=-1" >&2
exit "$status"
