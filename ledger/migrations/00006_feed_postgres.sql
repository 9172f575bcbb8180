-- Each event's place in the feed of all closures. A sequence alone would not do: a transaction with a lower number may commit
-- later, behind a reader's back. So whoever takes numbers holds a lock, until the transaction ends, that names a number below
-- all of its own, and a reader goes no further than the lowest one that is held. Nobody ever waits for these locks, and no
-- transaction but one that has written an event holds one: a dump or a long update of the application's holds up nothing.
-- +goose Up
ALTER TABLE closeout.events ADD COLUMN feed BIGINT;

-- Those of before, in the order of their times, and of their numbers within a closure.
UPDATE closeout.events e SET feed = o.n
FROM (
    SELECT closure_id, seq, row_number() OVER (ORDER BY at, closure_id, seq) + 1 AS n
    FROM (SELECT closure_id, seq, max(at) OVER (PARTITION BY closure_id ORDER BY seq) AS at FROM closeout.events) t
) o
WHERE o.closure_id = e.closure_id AND o.seq = e.seq;
CREATE UNIQUE INDEX events_in_feed ON closeout.events (feed);

-- last_value is always a number that is taken, at the beginning 1.
CREATE SEQUENCE closeout.events_feed OWNED BY closeout.events.feed;
SELECT setval('closeout.events_feed', (SELECT coalesce(max(feed), 1) FROM closeout.events));

-- The functions run as their owner: a role that may write events need have no rights to the sequence. The locks' keys are
-- 'cf' in the upper sixteen bits and the number below. One lock a transaction is enough: its first number is its lowest.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION closeout.feed_next() RETURNS BIGINT LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    me TEXT := pg_current_xact_id()::text;
    below BIGINT;
BEGIN
    IF current_setting('closeout.feeding', true) IS DISTINCT FROM me THEN
        SELECT last_value INTO below FROM closeout.events_feed;
        PERFORM pg_advisory_xact_lock_shared((25446::bigint << 48) | below);
        PERFORM set_config('closeout.feeding', me, true);
    END IF;
    RETURN nextval('closeout.events_feed');
END $$;
-- +goose StatementEnd

-- How far the feed can be read, by a later statement, and how far numbers are taken. The order matters: who takes the lock
-- after the look at the locks takes its numbers after it, too.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION closeout.feed_end(OUT safe BIGINT, OUT taken BIGINT) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    SELECT last_value INTO taken FROM closeout.events_feed;
    SELECT least(taken, min(((classid::bigint << 32) | objid::bigint) & ((1::bigint << 48) - 1))) INTO safe
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 25446
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
END $$;
-- +goose StatementEnd

ALTER TABLE closeout.events ALTER COLUMN feed SET DEFAULT closeout.feed_next();

-- +goose Down
ALTER TABLE closeout.events DROP COLUMN feed;
DROP FUNCTION closeout.feed_next();
DROP FUNCTION closeout.feed_end();
