#!/usr/bin/env bash
# Stops the workers or the servers of a stack of services.yaml, and lets them start again, as many as the stack says. What scales the
# workers would start them again, so that it is told too. Both wait until it is so.
#
#     deploy/ecs/service.sh closeout-sandbox stop worker
set -euo pipefail

base="${1:-}" what="${2:-}" name="${3:-}"
if [[ $# -ne 3 || $base == -* || ($what != stop && $what != start) || ($name != worker && $name != server) ]]; then
	echo "usage: ${BASH_SOURCE[0]} BASE stop|start worker|server        BASE is the stack of base.yaml, such as closeout-sandbox" >&2
	exit 2
fi

parameter() {
	aws cloudformation describe-stacks --stack-name "$base-services" --query "Stacks[0].Parameters[?ParameterKey=='$1'].ParameterValue" --output text
}
cluster="$(aws cloudformation describe-stacks --stack-name "$base" --query "Stacks[0].Outputs[?OutputKey=='Cluster'].OutputValue" --output text)"

least=0 most=0
if [[ $what == start && $name == worker ]]; then
	least="$(parameter MinWorkers)"
	most="$(parameter MaxWorkers)"
elif [[ $what == start ]]; then
	least="$(parameter ServerCount)"
fi
if [[ $name == worker ]]; then
	aws application-autoscaling register-scalable-target --service-namespace ecs --scalable-dimension ecs:service:DesiredCount \
		--resource-id "service/$cluster/closeout-worker" --min-capacity "$least" --max-capacity "$most" >/dev/null
fi
aws ecs update-service --cluster "$cluster" --service "closeout-$name" --desired-count "$least" >/dev/null
aws ecs wait services-stable --cluster "$cluster" --services "closeout-$name"
echo "closeout-$name: $least are wanted$([[ $name == worker ]] && echo ", $most at the most"), and that is so." >&2
