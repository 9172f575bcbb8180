package sim

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shopspring/decimal"
	"github.com/sirupsen/logrus"
)

// Options makes a simulator. The zero value is one in memory, on the machine's clock, that accepts any key.
type Options struct {
	// Path is a SQLite file. Empty: everything is in memory and gone with the Sim.
	Path string
	// Now is the business clock; nil means time.Now. POST /sim/clock adds to it.
	Now func() time.Time
	// FixedClock refuses to push the clock, where processes elsewhere follow the same one and would not notice.
	FixedClock bool
	// Key and Secret are asked for by Basic auth on the broker's paths. Both empty: anybody may come in.
	Key, Secret string
	// Seed makes ids and chance repeatable.
	Seed int64
	// DailyLimit bounds the payouts of one account and banking day. Zero means 50,000.
	DailyLimit decimal.Decimal
	// CashMoves says when a withdrawal leaves the balances: AtCreation (the default), AtComplete or Late.
	CashMoves string
	// Market says when exchanges and banks work; nil means USMarket.
	Market Market
	// FillDelay is how long an order that can fill takes to; zero means 3 seconds of business time.
	FillDelay time.Duration
	// CancelDelay is how long an accepted cancel takes; zero means 2 seconds of business time.
	CancelDelay time.Duration
	// CallsPerMinute is how many calls are answered in a minute of the machine's clock, by whomever they are made; the rest
	// get 429. Zero: no limit.
	CallsPerMinute int
	// Machine is how long a stretch of business time takes on the machine's clock, where that is another than Now's; nil
	// means as long. Event streams wait by it.
	Machine func(business time.Duration) time.Duration
	// Heartbeat is machine time between the signs of life of an event stream; zero means 15 seconds.
	Heartbeat time.Duration
	// Log is told of each mutation and fault. Nil: silence.
	Log *logrus.Logger
}

// Sim is the broker. It is an http.Handler and safe for use by several goroutines.
type Sim struct {
	o      Options
	market market
	store  store

	mu       sync.Mutex
	accounts map[string]*account
	ids      []string // in the order of their making
	assets   map[string]position
	symbols  map[string]string // by asset id
	offset   time.Duration
	seq      int64
	chaos    *chaos
	requests uint64
	quota    quota
	streams  streams
	toldSeq  int64
}

var _ http.Handler = (*Sim)(nil)

// Open makes a simulator, or goes on with the one that Path holds.
func Open(o Options) (*Sim, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Market == nil {
		o.Market = USMarket
	}
	if o.DailyLimit.IsZero() {
		o.DailyLimit = decimal.NewFromInt(50_000)
	}
	if o.FillDelay <= 0 {
		o.FillDelay = 3 * time.Second
	}
	if o.CancelDelay <= 0 {
		o.CancelDelay = 2 * time.Second
	}
	if o.Machine == nil {
		o.Machine = func(d time.Duration) time.Duration { return d }
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.CashMoves == "" {
		o.CashMoves = AtCreation
	}
	if !slices.Contains([]string{AtCreation, AtComplete, Late}, o.CashMoves) {
		return nil, fmt.Errorf("open the simulator: cash moves %s, %s or %s, not %q", AtCreation, AtComplete, Late, o.CashMoves)
	}
	s := &Sim{o: o, market: market{o.Market}, accounts: map[string]*account{}, assets: map[string]position{}, symbols: map[string]string{}, store: &memory{}}
	s.streams = streams{news: make(chan struct{}), over: make(chan struct{})}
	if o.Path != "" {
		db, err := openDisk(o.Path)
		if err != nil {
			return nil, fmt.Errorf("open the simulator's file: %w", err)
		}
		s.store = db
	}
	accounts, meta, err := s.store.load()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the simulator's file: %w", err), s.store.close())
	}
	s.offset, s.seq, s.toldSeq = meta.offset, meta.seq, meta.told
	for _, a := range accounts {
		for _, o := range a.Orders {
			s.learn(position{Symbol: o.Symbol, Class: o.Class, Price: o.Price})
		}
		s.keep(a)
	}
	return s, nil
}

// Close ends the streams and lets the file go. Requests that come later are answered with 500.
func (s *Sim) Close() error {
	s.Hangup()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.close()
}

// Now is the simulator's business time.
func (s *Sim) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *Sim) now() time.Time { return s.o.Now().Add(s.offset).UTC().Round(0) }

// Advance pushes the business clock, as POST /sim/clock does.
func (s *Sim) Advance(d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.FixedClock {
		return &refusal{status: http.StatusConflict, code: 40910000, message: "the clock is shared with other processes: it cannot be pushed here"}
	}
	if d < 0 {
		return &refusal{status: http.StatusUnprocessableEntity, code: 42210000, message: "time only goes forward"}
	}
	if err := s.store.commit(change{offset: s.offset + d}); err != nil {
		return err
	}
	s.offset += d
	s.stirred()
	return nil
}

func (s *Sim) keep(a *account) {
	if s.accounts[a.ID] == nil {
		s.ids = append(s.ids, a.ID)
	}
	s.accounts[a.ID] = a
	for _, p := range a.Positions {
		s.learn(p)
	}
}

func (s *Sim) learn(p position) {
	if _, ok := s.assets[p.Symbol]; !ok {
		s.symbols[assetID(p.Symbol)] = p.Symbol
	}
	s.assets[p.Symbol] = p
}

// asset is what the simulator knows of a symbol from the accounts that ever held it.
func (s *Sim) asset(symbolOrID string) (position, bool) {
	if symbol, ok := s.symbols[strings.ToLower(symbolOrID)]; ok {
		symbolOrID = symbol
	}
	p, ok := s.assets[strings.ToUpper(symbolOrID)]
	return p, ok
}

// visit is one account in hand: a copy, the time that is being looked at, and the journal lines to be written with it.
type visit struct {
	s     *Sim
	a     *account
	at    time.Time
	lines []Entry
	told  []told
	late  time.Duration // a fault hides what is made now for so long
}

func (v *visit) book(e Entry) {
	e.At, e.Account = v.at, v.a.ID
	if e.Actor == "" {
		e.Actor = "sim"
	}
	if e.Amount == "" {
		e.Amount = e.Cash.StringFixed(2)
	}
	v.lines = append(v.lines, e)
	v.tellOf(e)
}

// move changes the cash and says so.
func (v *visit) move(amount decimal.Decimal, e Entry) {
	v.a.Cash = v.a.Cash.Add(amount)
	e.Cash = amount
	v.book(e)
}

func (v *visit) visible() time.Time {
	if v.late == 0 {
		return time.Time{}
	}
	return v.at.Add(v.late)
}

// look brings an account up to date and shows it. What it shows must not be changed.
func (s *Sim) look(id string) (*account, time.Time, error) {
	a, now := s.accounts[strings.ToLower(id)], s.now()
	if a == nil {
		return nil, now, errNoAccount
	}
	if !s.due(a, now) {
		return a, now, nil
	}
	v := &visit{s: s, a: a.clone()}
	v.advance(now)
	return v.a, now, s.commit(v)
}

// change brings an account up to date, lets f change it, and stores both. If f refuses, its part is undone.
func (s *Sim) change(id string, late time.Duration, f func(*visit) error) error {
	a, now, err := s.look(id)
	if err != nil {
		return err
	}
	v := &visit{s: s, a: a.clone(), at: now, late: late}
	v.a.Holds = slices.DeleteFunc(v.a.Holds, func(h hold) bool { return !h.Until.After(now) })
	if err := f(v); err != nil {
		return err
	}
	v.advance(now)
	return s.commit(v)
}

func (s *Sim) commit(v *visit) error {
	for i := range v.lines {
		v.lines[i].Seq = s.seq + int64(i) + 1
	}
	for i := range v.told {
		v.told[i].Seq = s.toldSeq + int64(i) + 1
	}
	if err := s.store.commit(change{accounts: []*account{v.a}, lines: v.lines, told: v.told, offset: s.offset}); err != nil {
		return fmt.Errorf("store account: %w", err)
	}
	s.seq += int64(len(v.lines))
	s.toldSeq += int64(len(v.told))
	s.keep(v.a)
	s.expect(v.a)
	if s.streams.open > 0 {
		s.stirred()
	}
	if s.o.Log != nil {
		for _, e := range v.lines {
			s.o.Log.WithFields(logrus.Fields{"account": e.Account[len(e.Account)-6:], "kind": e.Kind, "amount": e.Amount, "actor": e.Actor}).Debug("booked")
		}
	}
	return nil
}

// Journal gives what was accepted and what befell, in order; of every account where none is named. It does not bring
// accounts up to date: what nobody has looked at has not been booked yet.
func (s *Sim) Journal(account string) ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if account != "" {
		account = strings.ToLower(account)
		if _, _, err := s.look(account); err != nil {
			return nil, err
		}
	}
	return s.store.journal(account)
}

// refusal is an answer of the broker's that is no success.
type refusal struct {
	status, code int
	message      string
	extra        map[string]any
}

func (r *refusal) Error() string { return fmt.Sprintf("%d (%d): %s", r.status, r.code, r.message) }

var (
	errNoAccount = &refusal{status: http.StatusNotFound, code: 40410000, message: "account not found"}
	errNoAuth    = &refusal{status: http.StatusUnauthorized, code: 40110000, message: "request is not authorized"}
	errNoPath    = &refusal{status: http.StatusNotFound, code: 40410000, message: "endpoint not found"}
)

func forbidden(format string, args ...any) *refusal {
	return &refusal{status: http.StatusForbidden, code: 40310000, message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *refusal {
	return &refusal{status: http.StatusUnprocessableEntity, code: 42210000, message: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, code: 40010000, message: fmt.Sprintf(format, args...)}
}

func notFound(what string) *refusal {
	return &refusal{status: http.StatusNotFound, code: 40410000, message: what + " not found"}
}
