-- The trace of the request that a closure came by, as the W3C's traceparent: the sweep makes tasks from rows, so that only what a
-- row keeps survives the loss of Redis. Empty: nothing was traced.
-- +goose Up
ALTER TABLE closeout.closures ADD COLUMN trace TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE closeout.closures DROP COLUMN trace;
