-- What the application's own column said of the account before the closure, to be restored when it is canceled, and whether
-- the closure has written it at all: the column may well have said NULL.
-- +goose Up
ALTER TABLE closeout.closures ADD COLUMN former_status TEXT;
ALTER TABLE closeout.closures ADD COLUMN status_written INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE closeout.closures DROP COLUMN status_written;
ALTER TABLE closeout.closures DROP COLUMN former_status;
