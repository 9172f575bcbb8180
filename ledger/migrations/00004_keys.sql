-- Requests that carried an Idempotency-Key, with what they were answered, and the API keys that the service has made. Of both
-- kinds of key there is only a hash here.
-- +goose Up
CREATE TABLE closeout.idempotency_keys (
    environment  TEXT NOT NULL CHECK (environment IN ('sandbox', 'live')),
    client       TEXT NOT NULL, -- the name of the API key that came with it
    key_hash     TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    lease        TEXT NOT NULL, -- of the request that is at work; empty once there is an answer
    lease_until  TIMESTAMPTZ NOT NULL, -- machine
    status       INTEGER NOT NULL, -- 0: no answer yet
    location     TEXT NOT NULL,
    body         TEXT NOT NULL,
    expires_at   TIMESTAMPTZ NOT NULL, -- machine
    PRIMARY KEY (environment, client, key_hash)
);
CREATE INDEX idempotency_keys_expires ON closeout.idempotency_keys (expires_at);

CREATE TABLE closeout.api_keys (
    id           TEXT PRIMARY KEY,
    environment  TEXT NOT NULL CHECK (environment IN ('sandbox', 'live')),
    name         TEXT NOT NULL, -- the actor of what is done with it
    hash         TEXT NOT NULL UNIQUE,
    scopes       TEXT NOT NULL, -- separated by blanks
    created_at   TIMESTAMPTZ NOT NULL, -- machine, as all times of a key
    created_by   TEXT NOT NULL,
    revoked_at   TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ -- to the minute
);
CREATE UNIQUE INDEX api_keys_living_name ON closeout.api_keys (environment, name) WHERE revoked_at IS NULL;

-- +goose Down
DROP TABLE closeout.api_keys;
DROP TABLE closeout.idempotency_keys;
