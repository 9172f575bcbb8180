-- Batches of closures: each account that was asked for is a row, and the row says what came of it. The indexes on closures are
-- those of the list: newest first, of all, of a state, of a reason and of a batch.
-- +goose Up
ALTER TABLE closeout.closures ADD COLUMN batch_id TEXT NOT NULL DEFAULT '';
CREATE INDEX closures_batch ON closeout.closures (batch_id, created_at, id) WHERE batch_id <> '';
CREATE INDEX closures_created ON closeout.closures (environment, created_at, id);
CREATE INDEX closures_state ON closeout.closures (environment, state, created_at, id);
CREATE INDEX closures_reason ON closeout.closures (environment, reason, created_at, id);
CREATE INDEX closures_confirmation ON closeout.closures (confirmation);

CREATE TABLE closeout.batches (
    id          TEXT PRIMARY KEY,
    environment TEXT NOT NULL CHECK (environment IN ('sandbox', 'live')),
    actor       TEXT NOT NULL,
    cause       TEXT NOT NULL,
    priority    TEXT NOT NULL CHECK (priority IN ('urgent', 'normal', 'bulk')),
    dry_run     INTEGER NOT NULL,
    partial     INTEGER NOT NULL,
    total       INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('checking', 'starting', 'done', 'refused', 'canceled')),
    version     BIGINT NOT NULL, -- moves with every bite
    due_at      TIMESTAMPTZ NOT NULL, -- machine: of the next bite
    placed      INTEGER NOT NULL, -- whether that bite has a place in the queue of looks at the broker
    why         TEXT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL, -- business
    updated_at  TIMESTAMPTZ NOT NULL,
    ended_at    TIMESTAMPTZ
);
CREATE INDEX batches_due ON closeout.batches (due_at, id) WHERE state IN ('checking', 'starting');

CREATE TABLE closeout.batch_rows (
    batch_id        TEXT NOT NULL REFERENCES closeout.batches (id),
    n               INTEGER NOT NULL, -- its place in the request, from 0
    account_id      TEXT NOT NULL,
    relationship_id TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    email           TEXT NOT NULL,
    not_before      TIMESTAMPTZ,
    state           TEXT NOT NULL CHECK (state IN ('waiting', 'ready', 'refused', 'started')),
    tries           INTEGER NOT NULL, -- that brought no answer
    obstacles       TEXT NOT NULL, -- what stands in its way, as JSON
    fingerprint     TEXT NOT NULL,
    expected_at     TIMESTAMPTZ, -- the finish that was expected when it was found ready
    closure_id      TEXT NOT NULL,
    PRIMARY KEY (batch_id, n)
);
CREATE INDEX batch_rows_state ON closeout.batch_rows (batch_id, state, tries, n);

-- +goose Down
DROP TABLE closeout.batch_rows;
DROP TABLE closeout.batches;
DROP INDEX closeout.closures_confirmation;
DROP INDEX closeout.closures_reason;
DROP INDEX closeout.closures_state;
DROP INDEX closeout.closures_created;
DROP INDEX closeout.closures_batch;
ALTER TABLE closeout.closures DROP COLUMN batch_id;
