-- What was removed after its time: a row for each bite. The indexes are the ways from a closure to what refers to it from beside.
-- +goose Up
CREATE TABLE closeout.removals (
    id           TEXT PRIMARY KEY,
    environment  TEXT NOT NULL CHECK (environment IN ('sandbox', 'live')),
    at           TIMESTAMPTZ NOT NULL, -- machine
    actor        TEXT NOT NULL,
    ended_before TIMESTAMPTZ NOT NULL, -- business: all that was removed had ended before
    closures     INTEGER NOT NULL,
    events       BIGINT NOT NULL,
    batches      INTEGER NOT NULL,
    redrives     INTEGER NOT NULL
);
CREATE INDEX removals_at ON closeout.removals (environment, at, id);
CREATE INDEX redrive_rows_closure ON closeout.redrive_rows (closure_id);
CREATE INDEX batch_rows_closure ON closeout.batch_rows (closure_id) WHERE closure_id <> '';

-- +goose Down
DROP INDEX closeout.batch_rows_closure;
DROP INDEX closeout.redrive_rows_closure;
DROP TABLE closeout.removals;
