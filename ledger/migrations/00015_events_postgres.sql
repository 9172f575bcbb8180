-- An event is written in the transaction that moves its closure's row, where the row is still what its writer read: there is nothing
-- that a foreign key could find, and it is two lookups and a lock for each of them. The check of the histories names events
-- without a closure. SQLite would have to copy the table, and keeps it.
-- +goose Up
-- In the order in which every writer takes them: dropped at once, the key would have the events locked first, and writers that have their
-- closure's row wait for this, which waits for them.
LOCK TABLE closeout.closures, closeout.events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE closeout.events DROP CONSTRAINT events_closure_id_fkey;

-- +goose Down
LOCK TABLE closeout.closures, closeout.events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE closeout.events ADD CONSTRAINT events_closure_id_fkey FOREIGN KEY (closure_id) REFERENCES closeout.closures (id);
