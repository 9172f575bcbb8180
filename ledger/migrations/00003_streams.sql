-- How far each of the broker's event streams has been read, and which process reads it. look_by is when a closure's next look
-- would be due if nobody heard events: those whose look was put off are brought back by it.
-- +goose Up
CREATE TABLE closeout.streams (
    environment TEXT NOT NULL CHECK (environment IN ('sandbox', 'live')),
    topic       TEXT NOT NULL,
    cursor      TEXT NOT NULL, -- of the last event whose closure was woken; empty: none yet
    holder      TEXT NOT NULL,
    lease_until TIMESTAMPTZ NOT NULL, -- machine
    heard_at    TIMESTAMPTZ, -- machine: the last sign of life
    PRIMARY KEY (environment, topic)
);

ALTER TABLE closeout.closures ADD COLUMN look_by TIMESTAMPTZ;
CREATE INDEX closures_look_by ON closeout.closures (look_by, id) WHERE state = 'running' AND look_by IS NOT NULL;

-- +goose Down
DROP INDEX closeout.closures_look_by;
ALTER TABLE closeout.closures DROP COLUMN look_by;
DROP TABLE closeout.streams;
