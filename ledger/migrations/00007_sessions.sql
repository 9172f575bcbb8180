-- Who is signed in at the console. Of a session's token there is only a hash here. One that was ended stays until its time is
-- over, without what was in it: a request that began before it ended can't write it anew.
-- +goose Up
CREATE TABLE closeout.sessions (
    environment TEXT NOT NULL CHECK (environment IN ('sandbox', 'live')),
    token_hash  TEXT NOT NULL,
    data        TEXT NOT NULL,
    ended       INTEGER NOT NULL,
    expires_at  TIMESTAMPTZ NOT NULL, -- machine
    PRIMARY KEY (environment, token_hash)
);
CREATE INDEX sessions_expires ON closeout.sessions (expires_at);

-- +goose Down
DROP TABLE closeout.sessions;
