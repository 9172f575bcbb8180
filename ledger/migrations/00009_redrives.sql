-- Bulk retries: each closure that was found at the start is a row, and the row says what came of it. The indexes on closures are
-- for what needs a person: what has stopped, by its reason, and what runs and waits for somebody.
-- +goose Up
CREATE TABLE closeout.redrives (
    id          TEXT PRIMARY KEY,
    environment TEXT NOT NULL CHECK (environment IN ('sandbox', 'live')),
    filter      TEXT NOT NULL, -- as ledger.ParseFilter reads it
    reason      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    per_minute  INTEGER NOT NULL CHECK (per_minute > 0),
    state       TEXT NOT NULL CHECK (state IN ('running', 'done', 'aborted')),
    total       INTEGER NOT NULL, -- found at the start
    retried     INTEGER NOT NULL,
    skipped     INTEGER NOT NULL,
    version     BIGINT NOT NULL, -- moves with every bite
    due_at      TIMESTAMPTZ NOT NULL, -- machine: of the next bite
    why         TEXT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL, -- business
    updated_at  TIMESTAMPTZ NOT NULL,
    ended_at    TIMESTAMPTZ
);
CREATE INDEX redrives_due ON closeout.redrives (due_at, id) WHERE state = 'running';
CREATE INDEX redrives_created ON closeout.redrives (environment, created_at, id);

CREATE TABLE closeout.redrive_rows (
    redrive_id TEXT NOT NULL REFERENCES closeout.redrives (id),
    n          INTEGER NOT NULL, -- the oldest closure first, from 0
    closure_id TEXT NOT NULL REFERENCES closeout.closures (id),
    version    BIGINT NOT NULL, -- of the closure as it was found
    reason     TEXT NOT NULL, -- why it had stopped
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'retried', 'skipped')),
    why        TEXT NOT NULL, -- it was skipped
    done_at    TIMESTAMPTZ, -- machine: the rate is counted by it
    PRIMARY KEY (redrive_id, n)
);
CREATE INDEX redrive_rows_state ON closeout.redrive_rows (redrive_id, state, n);
CREATE INDEX redrive_rows_rate ON closeout.redrive_rows (redrive_id, done_at) WHERE state = 'retried';

CREATE INDEX closures_stopped ON closeout.closures (environment, reason, state, ended_at) WHERE state IN ('failed', 'dead', 'paused');
CREATE INDEX closures_asking ON closeout.closures (environment, reason) WHERE state = 'running' AND who <> '';
CREATE INDEX intents_unsettled ON closeout.intents (environment, state, claimed_at) WHERE state IN ('sending', 'late');

-- +goose Down
DROP INDEX closeout.intents_unsettled;
DROP INDEX closeout.closures_asking;
DROP INDEX closeout.closures_stopped;
DROP TABLE closeout.redrive_rows;
DROP TABLE closeout.redrives;
