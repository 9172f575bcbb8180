-- One text for Postgres and SQLite, which is given it without the schema. Money is TEXT: SQLite's NUMERIC is a double. Times are
-- written by us, in UTC.
-- +goose Up
CREATE TABLE closeout.closures (
    id                TEXT PRIMARY KEY,
    environment       TEXT NOT NULL CHECK (environment IN ('sandbox', 'live')),
    account_id        TEXT NOT NULL,
    confirmation      TEXT NOT NULL,
    relationship_id   TEXT NOT NULL,
    fingerprint       TEXT NOT NULL,
    user_id           TEXT NOT NULL,
    email             TEXT NOT NULL,
    cause             TEXT NOT NULL,
    priority          TEXT NOT NULL CHECK (priority IN ('urgent', 'normal', 'bulk')),
    not_before        TIMESTAMPTZ,
    actor             TEXT NOT NULL,
    phase             TEXT NOT NULL CHECK (phase IN ('liquidation', 'settlement', 'withdrawal', 'closing')),
    state             TEXT NOT NULL CHECK (state IN ('running', 'paused', 'failed', 'dead', 'closed', 'canceled')),
    version           BIGINT NOT NULL,
    token             TEXT NOT NULL,
    due_at            TIMESTAMPTZ,
    reason            TEXT NOT NULL,
    why               TEXT NOT NULL,
    who               TEXT NOT NULL,
    failures          INTEGER NOT NULL,
    failures_in_phase INTEGER NOT NULL,
    crashes           INTEGER NOT NULL,
    noted_retries     INTEGER NOT NULL,
    last_error        TEXT NOT NULL,
    looks             INTEGER NOT NULL,
    spent_ns          BIGINT NOT NULL,
    days              INTEGER NOT NULL,
    last_day          TEXT NOT NULL,
    last_look         TIMESTAMPTZ,
    loops             INTEGER NOT NULL,
    woken_at          TIMESTAMPTZ,
    memo              TEXT NOT NULL,
    seq               BIGINT NOT NULL,
    head_hash         TEXT NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL,
    updated_at        TIMESTAMPTZ NOT NULL,
    started_at        TIMESTAMPTZ,
    entered_at        TIMESTAMPTZ,
    ended_at          TIMESTAMPTZ,
    CHECK ((state = 'running') = (due_at IS NOT NULL))
);

-- One closure of an account may be under way.
CREATE UNIQUE INDEX closures_open_account ON closeout.closures (environment, account_id) WHERE state NOT IN ('closed', 'canceled');
CREATE INDEX closures_account ON closeout.closures (environment, account_id, created_at);
CREATE INDEX closures_due ON closeout.closures (due_at, id) WHERE state = 'running';

CREATE TABLE closeout.events (
    closure_id TEXT NOT NULL REFERENCES closeout.closures (id),
    seq        BIGINT NOT NULL,
    at         TIMESTAMPTZ NOT NULL,
    kind       TEXT NOT NULL,
    body       TEXT NOT NULL,
    prev_hash  TEXT NOT NULL,
    hash       TEXT NOT NULL,
    PRIMARY KEY (closure_id, seq)
);

CREATE TABLE closeout.intents (
    id              TEXT PRIMARY KEY,
    closure_id      TEXT NOT NULL REFERENCES closeout.closures (id),
    environment     TEXT NOT NULL,
    account_id      TEXT NOT NULL,
    key             BIGINT NOT NULL, -- the version that its claim made
    n               INTEGER NOT NULL, -- its place in the claim's batch
    kind            TEXT NOT NULL CHECK (kind IN ('cancel', 'order', 'transfer', 'close')),
    state           TEXT NOT NULL CHECK (state IN ('sending', 'sent', 'refused', 'void', 'late')),
    subject         TEXT NOT NULL, -- the order or asset that it is about
    attempt         INTEGER NOT NULL,
    client_order_id TEXT NOT NULL,
    request         TEXT NOT NULL, -- method, path and body, sent byte for byte
    amount          TEXT NOT NULL,
    relationship_id TEXT NOT NULL,
    banking_day     TEXT NOT NULL,
    cash_before     TEXT NOT NULL,
    quiet           INTEGER NOT NULL,
    listed          TEXT NOT NULL, -- what the broker listed when it was claimed, as JSON
    claimed_at      TIMESTAMPTZ NOT NULL, -- business
    deadline        TIMESTAMPTZ NOT NULL, -- machine: no answer by then is no answer
    absent_at       TIMESTAMPTZ, -- machine: the first list after the quarantine that lacked it
    broker_id       TEXT NOT NULL,
    status          INTEGER NOT NULL, -- of the broker's answer; 0: none
    answer          TEXT NOT NULL, -- in words, redacted
    request_id      TEXT NOT NULL,
    answered_at     TIMESTAMPTZ,
    filled_qty      TEXT NOT NULL,
    proceeds        TEXT NOT NULL,
    finished        TEXT NOT NULL, -- the last status seen of what it made
    UNIQUE (closure_id, key, n)
);

-- The net under the claim: one transfer on the wire an account, one a banking day, each of the broker's transfers once.
CREATE UNIQUE INDEX intents_one_sending ON closeout.intents (environment, account_id) WHERE kind = 'transfer' AND state = 'sending';
CREATE UNIQUE INDEX intents_one_a_day ON closeout.intents (environment, account_id, banking_day) WHERE kind = 'transfer' AND state <> 'refused';
CREATE UNIQUE INDEX intents_transfer_once ON closeout.intents (environment, broker_id) WHERE kind = 'transfer' AND broker_id <> '';

CREATE TABLE closeout.notices (
    id         TEXT PRIMARY KEY,
    closure_id TEXT NOT NULL REFERENCES closeout.closures (id),
    seq        BIGINT NOT NULL, -- of the event that caused it: the order of delivery
    kind       TEXT NOT NULL,
    data       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('due', 'sent', 'failed')),
    due_at     TIMESTAMPTZ NOT NULL, -- machine
    lease      TEXT NOT NULL,
    attempts   INTEGER NOT NULL,
    last_error TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL, -- business
    sent_at    TIMESTAMPTZ,
    UNIQUE (closure_id, seq, kind)
);

CREATE INDEX notices_due ON closeout.notices (due_at, id) WHERE state = 'due';

-- Sessions of the broker's calendar, New York wall time.
CREATE TABLE closeout.trading_sessions (
    date    TEXT PRIMARY KEY,
    opens   TEXT NOT NULL,
    closes  TEXT NOT NULL,
    settles TEXT NOT NULL
);

-- +goose Down
DROP TABLE closeout.trading_sessions;
DROP TABLE closeout.notices;
DROP TABLE closeout.intents;
DROP TABLE closeout.events;
DROP TABLE closeout.closures;
