-- What the application's own column said of the account before the closure, to be restored when it is canceled.
-- +goose Up
ALTER TABLE closeout.closures ADD COLUMN former_status TEXT;

-- +goose Down
ALTER TABLE closeout.closures DROP COLUMN former_status;
