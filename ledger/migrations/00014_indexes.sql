-- Each change of a row is entered into each of its indexes. closures_user went out of use with 00011. That of an account has the
-- id at its end now, so that an account's latest closure is read off it: while Postgres had no figures on the table it preferred
-- to go along all closures by their age.
-- What takes the stronger lock goes first, here and below: taken up to it later, Postgres would find this and a command, which has
-- its row and is about to write it, waiting for each other.
-- +goose Up
-- writers wait: a second for a million rows, and so do readers
DROP INDEX closeout.closures_account;
DROP INDEX closeout.closures_user;
CREATE INDEX closures_of_account ON closeout.closures (environment, account_id, created_at, id);

-- +goose Down
DROP INDEX closeout.closures_of_account;
CREATE INDEX closures_account ON closeout.closures (environment, account_id, created_at);
CREATE INDEX closures_user ON closeout.closures (environment, user_id) WHERE user_id <> '';
