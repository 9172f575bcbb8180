-- A user id is looked for whatever its letters' case, as an e-mail is: people copy ids out of systems that write them otherwise.
-- closures_user stays for servers of before this one, and can go with a later migration.
-- +goose Up
CREATE INDEX closures_user_id ON closeout.closures (environment, lower(user_id)) WHERE user_id <> '';

-- +goose Down
DROP INDEX closeout.closures_user_id;
