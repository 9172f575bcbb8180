package sim

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// change is what is stored in one transaction.
type change struct {
	accounts []*account // none: only the clock
	lines    []Entry
	told     []told
	offset   time.Duration
}

type meta struct {
	offset    time.Duration
	seq, told int64
}

type store interface {
	load() ([]*account, meta, error)
	commit(change) error
	journal(account string) ([]Entry, error) // of all accounts where none is named
	// heard gives a topic's events after one, up to most, and the number of the last event that it has looked at.
	heard(topic string, after int64, most int) ([]told, int64, error)
	close() error
}

type memory struct {
	lines  []Entry
	of     map[string][]int
	told   []told
	closed bool
}

func (m *memory) load() ([]*account, meta, error) { return nil, meta{}, nil }

func (m *memory) close() error { m.closed = true; return nil }

func (m *memory) commit(c change) error {
	if m.closed {
		return errors.New("the simulator is closed")
	}
	if m.of == nil {
		m.of = map[string][]int{}
	}
	for _, e := range c.lines {
		m.of[e.Account] = append(m.of[e.Account], len(m.lines))
		m.lines = append(m.lines, e)
	}
	m.told = append(m.told, c.told...)
	return nil
}

func (m *memory) heard(topic string, after int64, most int) (out []told, last int64, err error) {
	last = max(after, 0)
	for ; last < int64(len(m.told)) && len(out) < most; last++ { // numbers begin with 1
		if t := m.told[last]; t.Topic == topic {
			out = append(out, t)
		}
	}
	return out, last, nil
}

func (m *memory) journal(account string) ([]Entry, error) {
	if account == "" {
		return append([]Entry{}, m.lines...), nil
	}
	entries := make([]Entry, 0, len(m.of[account]))
	for _, i := range m.of[account] {
		entries = append(entries, m.lines[i])
	}
	return entries, nil
}

// disk keeps accounts and journal in SQLite. Synchronous FULL: what was answered survives the machine's power.
type disk struct{ db *sql.DB }

const schema = `
CREATE TABLE IF NOT EXISTS accounts (made INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS journal (seq INTEGER PRIMARY KEY, account TEXT NOT NULL, entry TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS journal_account ON journal (account, seq);
CREATE TABLE IF NOT EXISTS told (seq INTEGER PRIMARY KEY, topic TEXT NOT NULL, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY CHECK (one = 1), ahead INTEGER NOT NULL);
INSERT INTO clock VALUES (1, 0) ON CONFLICT DO NOTHING;
CREATE TRIGGER IF NOT EXISTS journal_grows BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'the journal only grows'); END;
CREATE TRIGGER IF NOT EXISTS journal_stays BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'the journal only grows'); END;
`

func openDisk(path string) (*disk, error) {
	q := url.Values{
		"_pragma":      {"journal_mode(WAL)", "busy_timeout(5000)", "foreign_keys(1)", "synchronous(FULL)"},
		"_txlock":      {"immediate"},
		"_time_format": {"sqlite"},
	}
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &disk{db}, nil
}

func (d *disk) close() error { return d.db.Close() }

func (d *disk) load() (accounts []*account, m meta, err error) {
	rows, err := d.db.Query(`SELECT state FROM accounts ORDER BY made`)
	if err != nil {
		return nil, m, err
	}
	defer rows.Close()
	for rows.Next() {
		var state []byte
		if err := rows.Scan(&state); err != nil {
			return nil, m, err
		}
		a := new(account)
		if err := json.Unmarshal(state, a); err != nil {
			return nil, m, fmt.Errorf("an account's state: %w", err)
		}
		accounts = append(accounts, a)
	}
	if err := rows.Err(); err != nil {
		return nil, m, err
	}
	var ahead int64
	if err := d.db.QueryRow(`SELECT ahead FROM clock`).Scan(&ahead); err != nil {
		return nil, m, err
	}
	m.offset = time.Duration(ahead)
	return accounts, m, d.db.QueryRow(`SELECT (SELECT coalesce(max(seq), 0) FROM journal), (SELECT coalesce(max(seq), 0) FROM told)`).Scan(&m.seq, &m.told)
}

func (d *disk) commit(c change) error {
	tx, err := d.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if len(c.accounts) == 0 {
		if _, err := tx.Exec(`UPDATE clock SET ahead = $1`, int64(c.offset)); err != nil {
			return err
		}
		return tx.Commit()
	}
	for _, a := range c.accounts {
		state, err := json.Marshal(a)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO accounts (id, state) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET state = excluded.state`, a.ID, string(state))
		if err != nil {
			return err
		}
	}
	for _, e := range c.lines {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO journal (seq, account, entry) VALUES ($1, $2, $3)`, e.Seq, e.Account, string(line)); err != nil {
			return err
		}
	}
	for _, t := range c.told {
		event, err := json.Marshal(t)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO told (seq, topic, event) VALUES ($1, $2, $3)`, t.Seq, t.Topic, string(event)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (d *disk) heard(topic string, after int64, most int) (out []told, last int64, err error) {
	last = after
	rows, err := d.db.Query(`SELECT event FROM told WHERE seq > $1 AND topic = $2 ORDER BY seq LIMIT $3`, after, topic, most)
	if err != nil {
		return nil, last, err
	}
	defer rows.Close()
	for rows.Next() {
		var event []byte
		if err := rows.Scan(&event); err != nil {
			return nil, last, err
		}
		var t told
		if err := json.Unmarshal(event, &t); err != nil {
			return nil, last, err
		}
		out, last = append(out, t), t.Seq
	}
	return out, last, rows.Err()
}

func (d *disk) journal(account string) ([]Entry, error) {
	rows, err := d.db.Query(`SELECT entry FROM journal WHERE $1 = '' OR account = $1 ORDER BY seq`, account)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	entries := []Entry{}
	for rows.Next() {
		var line []byte
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, rows.Err()
}
