#!/usr/bin/env bash
# Carries out one command of closeout as a task beside the services, by the stack of once.yaml: waits for its end, prints what it
# said, and ends with its status. Without a command it migrates.
#
#     deploy/ecs/once.sh closeout-sandbox monitor stats
set -euo pipefail

if [[ $# -eq 0 || $1 == -* ]]; then
	echo "usage: ${BASH_SOURCE[0]} BASE [COMMAND...]        BASE is the stack of base.yaml, such as closeout-sandbox" >&2
	exit 2
fi
base="$1"
shift

output() { # STACK NAME
	aws cloudformation describe-stacks --stack-name "$1" --query "Stacks[0].Outputs[?OutputKey=='$2'].OutputValue" --output text
}
quoted() { # as JSON
	local text="${1//\\/\\\\}"
	printf '"%s"' "${text//\"/\\\"}"
}

run="$(output "$base-once" Run)"
cluster="$(output "$base" Cluster)"
group="$(output "$base" Logs)"

# Who does it stands in the history.
override="{\"name\":\"closeout\",\"environment\":[{\"name\":\"USER\",\"value\":$(quoted "${USER:-unknown}")}]"
if [[ $# -gt 0 ]]; then
	words=""
	for word in "$@"; do
		words+="${words:+,}$(quoted "$word")"
	done
	override+=",\"command\":[$words]"
fi
began="$(sh -c "$run"' "$@"' run --overrides "{\"containerOverrides\":[$override}]}" --query '[tasks[0].taskArn,failures[0].reason]' --output text)"
read -r task why <<<"$began"
if [[ $task != arn:* ]]; then
	echo "ECS started no task: $why" >&2
	exit 1
fi
stream="once/closeout/${task##*/}"
echo "It runs as ${task##*/}. Follow it by: aws logs tail $group --log-stream-names $stream --follow" >&2

# The waiter gives up after ten minutes; a command may take hours. What can't be asked at all ends this, and not the task.
until aws ecs wait tasks-stopped --cluster "$cluster" --tasks "$task" 2>/dev/null; do
	aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0].lastStatus' --output text >/dev/null
done

ended="$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0].[containers[0].exitCode,stoppedReason]' --output text)"
read -r status why <<<"$ended"
aws logs tail "$group" --log-stream-names "$stream" --since 1d --format short || true # there is none where it never began
if [[ ! $status =~ ^[0-9]+$ ]]; then
	echo "It did not run: $why" >&2
	exit 1
fi
exit "$status"
