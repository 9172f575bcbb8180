-- Whether an environment is held by an operator: while it is, no claim is made, so that nothing new is sent to the broker. The
-- row of each environment is there from the start, since every claim looks at it and a missing one must stop all; and every
-- change of it is kept.
-- +goose Up
CREATE TABLE closeout.holds (
    environment TEXT PRIMARY KEY CHECK (environment IN ('sandbox', 'live')),
    version     BIGINT NOT NULL, -- moves with every change
    held        INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    since       TIMESTAMPTZ -- business; NULL: it was never changed
);
INSERT INTO closeout.holds (environment, version, held, reason, actor) VALUES ('sandbox', 0, 0, '', ''), ('live', 0, 0, '', '');

CREATE TABLE closeout.hold_changes (
    environment TEXT NOT NULL REFERENCES closeout.holds (environment),
    version     BIGINT NOT NULL, -- that the change made
    held        INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    since       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (environment, version)
);

-- Letters that were given up, to be counted.
CREATE INDEX notices_failed ON closeout.notices (created_at, id) WHERE state = 'failed';

-- +goose Down
DROP INDEX closeout.notices_failed;
DROP TABLE closeout.hold_changes;
DROP TABLE closeout.holds;
