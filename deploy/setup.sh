#!/usr/bin/env bash
# Makes what compose.yaml needs beside itself: secrets/ with passwords of chance, and .env. What is there already stays, the profile too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

profile="${1:-}"
if [[ $profile != broker && $profile != simulator ]]; then
	echo "usage: ${BASH_SOURCE[0]} broker|simulator" >&2
	exit 2
fi

# What runs by this .env would be left running, without its file.
if [[ -e .env ]] && ! grep -qx "COMPOSE_PROFILES=$profile" .env; then
	echo "This folder is set up already, and not for $profile: $PWD/.env says $(grep -m1 '^COMPOSE_PROFILES=' .env || echo 'no COMPOSE_PROFILES')." >&2
	echo "Nothing was changed. Take another clone for $profile; or stop this one by docker compose down, which keeps its data, move .env away, and run this again." >&2
	exit 1
fi

# Of several folders on one machine each has a name and a port of its own: what has the same name is one and the same to Compose,
# which would replace the other's containers and give these its data.
name="${COMPOSE_PROJECT_NAME:-closeout}"
port="${CLOSEOUT_PORT:-$([[ $profile == broker ]] && echo 8000 || echo 8001)}"
if [[ ! -e .env ]] && command -v docker >/dev/null; then
	other="$(docker ps --all --filter "label=com.docker.compose.project=$name" --format '{{.Label "com.docker.compose.project.working_dir"}}' 2>/dev/null | grep -vxF "$PWD" | head -n1 || true)"
	if [[ -n $other ]]; then
		echo "The containers of $other are called $name already. Nothing was changed: choose another name and another port, such as" >&2
		echo "    COMPOSE_PROJECT_NAME=$name-2 CLOSEOUT_PORT=8002 ${BASH_SOURCE[0]} $profile" >&2
		exit 1
	fi
fi

# Nobody else comes into the folder. In a container the files belong to whoever owns them here, and must be readable by its user.
mkdir -p secrets
chmod 700 secrets
umask 022

# keep NAME: what it reads becomes that secret, unless there is one.
keep() {
	local text
	text="$(cat)"
	[[ -s secrets/$1 ]] || printf '%s\n' "$text" >"secrets/$1"
}
chance() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

chance | keep postgres_password
postgres="$(<secrets/postgres_password)"
keep database_url <<<"postgres://closeout:$postgres@postgres:5432/closeout?sslmode=disable"
keep simulated_database_url <<<"postgres://closeout:$postgres@postgres:5432/simulated?sslmode=disable"

# Without a password one can PING, as the health check does, and nothing else.
keep redis_users <<<"user default on nopass nocommands +ping
user closeout on >$(chance) allkeys allchannels allcommands"
redis="$(sed -n 's/^user closeout on >\([^ ]*\) .*/\1/p' secrets/redis_users)"
keep redis_url <<<"redis://closeout:$redis@redis:6379/0"
keep simulated_redis_url <<<"redis://closeout:$redis@redis:6379/1"

settings() {
	echo "COMPOSE_PROFILES=$profile"
	echo "# Of several folders on one machine each has its own name and port. Another name is another installation, with volumes of its own."
	echo "COMPOSE_PROJECT_NAME=$name"
	echo "CLOSEOUT_PORT=$port"
	if [[ $profile == simulator ]]; then
		echo "# A day takes 20 s. It is the Wednesday morning before a long weekend."
		echo "CLOSEOUT_DAY=20s@2027-01-13T15:00:00Z@$(date -u +%Y-%m-%dT%H:%M:%SZ)"
	else
		echo "# sandbox, or live with https://broker-api.alpaca.markets"
		echo "CLOSEOUT_ENVIRONMENT=sandbox"
		echo "CLOSEOUT_ALPACA_URL=https://broker-api.sandbox.alpaca.markets"
		echo "# At the broker, by all processes together: ask Alpaca for your limit, or read it in the log."
		echo "CLOSEOUT_ALPACA_CALLS_PER_MINUTE=200"
		echo "# Never 0: what sleeps in the queue is woken by a worker. More than the broker's budget feeds are useless."
		echo "CLOSEOUT_WORKERS=2"
	fi
}
[[ -e .env ]] || settings >.env

for name in alpaca_key alpaca_secret; do
	[[ -e secrets/$name ]] || : >"secrets/$name"
	if [[ $profile == broker && ! -s secrets/$name ]]; then
		echo "Write the Broker API's ${name#alpaca_} into deploy/secrets/$name."
	fi
done
