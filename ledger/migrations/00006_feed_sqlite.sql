-- Each event's place in the feed of all closures. SQLite has one writer at a time, so that a number is never below one that
-- was seen. A trigger gives it, so that a process of an older version that still writes need not know of it.
-- +goose Up
ALTER TABLE events ADD COLUMN feed INTEGER;
UPDATE events SET feed = rowid;
CREATE UNIQUE INDEX events_in_feed ON events (feed);

-- +goose StatementBegin
CREATE TRIGGER events_feed AFTER INSERT ON events WHEN NEW.feed IS NULL
BEGIN
    UPDATE events SET feed = (SELECT coalesce(max(feed), 1) + 1 FROM events) WHERE rowid = NEW.rowid;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER events_feed;
DROP INDEX events_in_feed;
ALTER TABLE events DROP COLUMN feed;
