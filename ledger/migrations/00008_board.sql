-- What the board counts and the console's list is sorted and searched by. The two sums are written with every change of the
-- row, in whole cents, so that a database can add them up exactly; NULL is not known.
-- +goose Up
ALTER TABLE closeout.closures ADD COLUMN worth_cents BIGINT;
ALTER TABLE closeout.closures ADD COLUMN on_way_cents BIGINT;

-- The board is read from this index alone: of closures that are not over it has all that is counted.
CREATE INDEX closures_board ON closeout.closures (environment, phase, state, reason, who, entered_at, not_before, worth_cents, on_way_cents)
    WHERE state NOT IN ('closed', 'canceled');
CREATE INDEX closures_since ON closeout.closures (environment, (CASE WHEN not_before > entered_at THEN not_before ELSE entered_at END), id)
    WHERE state NOT IN ('closed', 'canceled');
CREATE INDEX closures_ended ON closeout.closures (environment, ended_at, state) WHERE state IN ('closed', 'canceled');

CREATE INDEX closures_who ON closeout.closures (environment, who, created_at, id) WHERE who <> '';
CREATE INDEX closures_actor ON closeout.closures (environment, actor, created_at, id);
CREATE INDEX closures_user ON closeout.closures (environment, user_id) WHERE user_id <> '';
CREATE INDEX closures_email ON closeout.closures (environment, lower(email)) WHERE email <> '';
-- By the last six letters of an id, as confirmation numbers and people name an account.
CREATE INDEX closures_account_tail ON closeout.closures (substr(account_id, 31));
CREATE INDEX closures_id_tail ON closeout.closures (substr(id, 31));
CREATE INDEX intents_broker_id ON closeout.intents (environment, broker_id) WHERE broker_id <> '';
CREATE INDEX intents_client_order ON closeout.intents (environment, client_order_id) WHERE client_order_id <> '';

-- +goose Down
DROP INDEX closeout.intents_client_order;
DROP INDEX closeout.intents_broker_id;
DROP INDEX closeout.closures_id_tail;
DROP INDEX closeout.closures_account_tail;
DROP INDEX closeout.closures_email;
DROP INDEX closeout.closures_user;
DROP INDEX closeout.closures_actor;
DROP INDEX closeout.closures_who;
DROP INDEX closeout.closures_ended;
DROP INDEX closeout.closures_since;
DROP INDEX closeout.closures_board;
ALTER TABLE closeout.closures DROP COLUMN on_way_cents;
ALTER TABLE closeout.closures DROP COLUMN worth_cents;
