package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/mail"
	"closeout/server"
	"closeout/signin"
	"closeout/worker"
)

// planted are the secrets and the personal data that the test sows, each once and like nothing else. None may be found where
// it does not belong.
var planted = map[string]string{
	"given name": "Zebulona", "family name": "Quattlebaum", "street": "77 Wyvern Hollow Lane", "telephone": "+15550104477", "social security number": "512-88-7741",
	"bank account": "440011229988", "routing number": "987650123", "broker's e-mail": "zq.broker@planted.example", "client's e-mail": "zq.client@planted.example",
	"user id": "planteduser0815", "API key": "plantedapikey0123456789", "broker's key": "PKPLANTEDKEY00000042", "broker's secret": "plantedbrokersecret42",
	"operator's password": "planted horse battery", "mail password": "plantedmailpw", "Redis password": "plantedredispw", "Postgres password": "plantedpgpw",
	"OIDC secret": "plantedoidcsecret", "a wrong key": "plantedwrongkey012345",
}

// finds gathers where a planted thing was found.
type finds struct {
	mu     sync.Mutex
	words  map[string]string
	found  map[string]string // where: what, and around it
	looked map[string]int    // bytes
}

// also looks for another word from now on.
func (f *finds) also(what, word string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.words[what] = word
}

// in looks through a text, but for what belongs there.
func (f *finds) in(where, text string, belongs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind, _, _ := strings.Cut(where, ":")
	f.looked[kind] += len(text)
	for what, word := range f.words {
		if slices.Contains(belongs, what) {
			continue
		}
		for _, form := range []string{word, url.QueryEscape(word)} {
			if i := strings.Index(text, form); i >= 0 {
				f.found[where+": "+what] = text[max(0, i-150):min(len(text), i+len(form)+60)]
			}
		}
	}
}

// both writes each line of the log as text and as JSON.
type both struct{ text, json logrus.Formatter }

func (b both) Format(e *logrus.Entry) ([]byte, error) {
	one, err := b.text.Format(e)
	if err != nil {
		return nil, err
	}
	other := *e
	other.Buffer = nil // the first one's
	two, err := b.json.Format(&other)
	return append(one, two...), err
}

// wholeLog is everything that was logged.
type wholeLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (h *wholeLog) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(p)
}

func (h *wholeLog) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}

// spy sees each command to Redis and its answer.
type spy struct {
	finds  *finds
	tokens sync.Map
}

var inTask = regexp.MustCompile(`"token":"([0-9a-f]{12})"`)

func (s *spy) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *spy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		s.see(cmd)
		return err
	}
}

func (s *spy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, c := range cmds {
			s.see(c)
		}
		return err
	}
}

func (s *spy) see(cmd redis.Cmder) {
	var b strings.Builder
	for _, a := range cmd.Args() {
		if raw, ok := a.([]byte); ok {
			a = string(raw)
		}
		_, _ = fmt.Fprintln(&b, a)
	}
	_, _ = fmt.Fprintln(&b, cmd.String())
	s.finds.in("Redis", b.String())
	for _, m := range inTask.FindAllStringSubmatch(b.String(), -1) {
		s.tokens.Store(m[1], true)
	}
}

// talkative stands before the simulator and says more than it should: the customer's data in each account and bank, and in
// the answers to what goes wrong.
type talkative struct {
	sim                http.Handler
	refuse, silent     string // payouts of this account; of this one the first reading
	began              atomic.Bool
	pages              atomic.Int64
	paged, cut, denied atomic.Int64
}

func (h *talkative) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	all := strings.Join([]string{planted["given name"], planted["family name"], planted["street"], planted["broker's e-mail"], planted["telephone"], planted["social security number"], planted["bank account"], planted["routing number"]}, " ")
	n := h.pages.Add(1)
	switch {
	case strings.HasPrefix(r.URL.Path, "/sim/"), strings.HasPrefix(r.URL.Path, "/v2"), strings.Contains(r.URL.Path, "/events"):
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, h.refuse+"/transfers"):
		h.denied.Add(1)
		w.WriteHeader(http.StatusUnprocessableEntity)
		// The names stand beside the message: inside of it they could not be told from other words.
		_ = json.NewEncoder(w).Encode(map[string]any{
			"code": 42210000, "owner": all, "message": "bank " + planted["bank account"] + "/" + planted["routing number"] + " of " + planted["broker's e-mail"] + ", " + planted["social security number"] +
				", " + planted["telephone"] + ", at " + planted["street"] + " refused for " + planted["broker's key"] + ":" + planted["broker's secret"],
		})
		return
	case n%23 == 0 && r.Method == http.MethodGet, strings.HasSuffix(r.URL.Path, "/v1/accounts/"+h.silent) && h.began.CompareAndSwap(false, true): // a page where JSON is expected
		h.paged.Add(1)
		w.Header().Set("Content-Type", "text/html")
		if n%2 == 0 || !strings.Contains(r.URL.Path, "/trading/") {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = fmt.Fprintf(w, "<html><title>Sorry, %s</title>%s %s</html>", all, r.Header.Get("Authorization"), r.URL)
		return
	case n%29 == 0 && r.Method == http.MethodGet:
		h.cut.Add(1)
		panic(http.ErrAbortHandler)
	}
	rec := httptest.NewRecorder()
	h.sim.ServeHTTP(rec, r)
	body := strings.NewReplacer("20 N San Mateo Dr", planted["street"], "+15555555555", planted["telephone"], `"tax_id_type"`, `"tax_id":"`+planted["social security number"]+`","tax_id_type"`).Replace(rec.Body.String())
	body = regexp.MustCompile(`"bank_account_number":"\d+"`).ReplaceAllString(body, `"bank_account_number":"`+planted["bank account"]+`"`)
	body = regexp.MustCompile(`"bank_routing_number":"\d+"`).ReplaceAllString(body, `"bank_routing_number":"`+planted["routing number"]+`"`)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = io.WriteString(w, body)
}

// postOffice refuses every letter, and quotes whom it is for and who hands it in.
func postOffice(t *testing.T, letters *atomic.Int64) (addr string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, "220 planted\r\n")
				to, data := "", false
				for s := bufio.NewScanner(conn); s.Scan(); {
					answer := "250 yes"
					if data {
						if strings.HasPrefix(s.Text(), "To:") {
							to = s.Text()
						}
						if s.Text() != "." {
							continue
						}
						data, answer = false, "554 5.7.1 not wanted: "+to+", says "+planted["mail password"]
					}
					switch line := strings.ToUpper(s.Text()); {
					case strings.HasPrefix(line, "EHLO"):
						answer = "250-planted\r\n250 AUTH PLAIN"
					case strings.HasPrefix(line, "AUTH"):
						answer = "235 yes"
					case strings.HasPrefix(line, "RCPT"):
						if letters.Add(1)%2 == 0 {
							answer = "550 5.1.1 no mailbox: " + s.Text() + ", says " + planted["mail password"]
						}
					case line == "DATA":
						data, answer = true, "354 go on"
					}
					_, _ = io.WriteString(conn, answer+"\r\n")
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// TestPlantedSecretsAreFoundNowhere: closures live and fail with a customer whose data the broker, a mail server, clients and
// the settings spill in every answer, and none of it is in a log, an error, a task, an event or a page.
func TestPlantedSecretsAreFoundNowhere(t *testing.T) {
	if testing.Short() {
		t.Skip("lives through some days of three seconds: not in a short run")
	}
	f := &finds{words: maps.Clone(planted), found: map[string]string{}, looked: map[string]int{}}
	log := &wholeLog{}
	password, err := signin.MakePassword("ann", planted["operator's password"])
	if err != nil {
		t.Fatal(err)
	}

	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		spans, _ := io.ReadAll(r.Body) // texts stand in it as they are
		f.in("spans", string(spans))
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)

	// The settings, and starts that fail over them.
	for name, value := range map[string]string{
		"CLOSEOUT_API_KEYS": "client=" + planted["API key"], "CLOSEOUT_ALPACA_KEY": planted["broker's key"], "CLOSEOUT_ALPACA_SECRET": planted["broker's secret"],
		"CLOSEOUT_OPERATORS": password, "CLOSEOUT_OIDC_CLIENT_SECRET": planted["OIDC secret"], "CLOSEOUT_REDIS_URL": "redis://u:" + planted["Redis password"] + "@127.0.0.1:1/0",
		"CLOSEOUT_DATABASE_URL": "postgres://u:" + planted["Postgres password"] + "@127.0.0.1:1/x", "CLOSEOUT_SMTP_URL": "smtp://u:" + planted["mail password"] + "@127.0.0.1:1",
		"CLOSEOUT_ALPACA_URL": "http://127.0.0.1:1", "CLOSEOUT_OIDC_ISSUER": "https://127.0.0.1:1", "CLOSEOUT_OIDC_CLIENT_ID": "c", "CLOSEOUT_OIDC_OPERATORS": "o",
		"CLOSEOUT_PUBLIC_URL": "https://c.example", "CLOSEOUT_MAIL_FROM": "x@y.example", "CLOSEOUT_API_KEY": planted["API key"],
	} {
		t.Setenv(name, value)
	}
	for _, args := range [][]string{
		{"server"},
		{"worker"},
		{"migrate"},
		{"keys", "list"},
		{"server", "--help"},
		{"worker", "--help"},
		{"server", "--redis-url", "redis://u:" + planted["Redis password"] + "@["},
		{"migrate", "--database-url", "postgres://u:" + planted["Postgres password"] + "@127.0.0.1:1/x?sslmode=" + planted["Postgres password"]},
		{"worker", "--smtp-url", "http://u:" + planted["mail password"] + "@h"},
		{"server", "--operators", "ann:" + planted["operator's password"]},
		{"initiate", "--yes", "--url", "http://127.0.0.1:1", "5eed0000-0000-4000-8000-000000000001"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		var said bytes.Buffer
		run(ctx, args, &said, &said)
		cancel()
		f.in("command: "+strings.Join(args[:1], " "), said.String())
	}

	// The service.
	s := common{Environment: "sandbox", LogLevel: "debug", LogFormat: "json", ACHDailyLimit: "50000", ReturnWatch: "0"}.check(new(complaints))
	s.log.SetOutput(log)
	s.log.SetFormatter(both{&logrus.TextFormatter{FullTimestamp: true}, &logrus.JSONFormatter{}})
	s.clock, s.calls = closure.ScaledClock(3*time.Second, demoBegins, time.Now()), demoCalls
	broker, err := sim.Open(sim.Options{Now: s.clock.Now, Machine: s.clock.Machine, FixedClock: true, Key: planted["broker's key"], Secret: planted["broker's secret"]})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	customer := sim.Spec{GivenName: planted["given name"], FamilyName: planted["family name"], Email: planted["broker's e-mail"], Cash: dollars("100")}
	returned := customer
	returned.Events = []sim.Event{{Type: "ach_return", When: sim.AfterFirstPayoutComplete, After: hours(1), Reason: "R02 " + planted["bank account"] + " of " + planted["broker's e-mail"]}}
	accounts, err := broker.AddAccounts([]sim.Spec{customer, returned, {GivenName: customer.GivenName, FamilyName: customer.FamilyName, Email: customer.Email, Positions: []sim.PositionSpec{stock("F", "4", "12.50")}}})
	if err != nil {
		t.Fatal(err)
	}
	spilling := &talkative{sim: broker, refuse: accounts[0], silent: accounts[2]}
	wire := httptest.NewServer(spilling)
	defer wire.Close()
	var letters atomic.Int64
	post, err := mail.New("smtp://u:"+planted["mail password"]+"@"+postOffice(t, &letters), "Closeout <x@y.example>")
	if err != nil {
		t.Fatal(err)
	}
	mini := miniredis.NewMiniRedis()
	defer mini.Close()
	rdb := redis.NewClient(&redis.Options{Addr: "miniredis", DisableIdentity: true, Protocol: 2, Dialer: func(context.Context, string, string) (net.Conn, error) { return mini.Dial() }})
	seen := &spy{finds: f}
	rdb.AddHook(seen)
	path := filepath.Join(t.TempDir(), "closeout.db")
	p, err := assemble(t.Context(), s, rdb, "sqlite:"+path, alpaca.Options{BaseURL: wire.URL, Key: planted["broker's key"], Secret: planted["broker's secret"]})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := server.ParseKeys("client=" + planted["API key"])
	if err != nil {
		t.Fatal(err)
	}
	ln, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	here := "http://" + ln.Addr().String()
	passwords, err := signin.ParsePasswords(password)
	if err != nil {
		t.Fatal(err)
	}
	h, err := p.handler(keys, server.DefaultRate, signin.Settings{PublicURL: here, OneClick: true, Passwords: passwords})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) {
		panic(fmt.Sprint("a panic over ", planted["bank account"], planted["broker's e-mail"], planted["API key"], planted["social security number"]))
	})
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { _ = serve(ctx, ln, mux) })
	o := p.worker(ctx, post, 4, "127.0.0.1:0")
	listening{Events: "on"}.listen(p, &o)
	parts.Go(func() {
		if err := worker.Run(ctx, o); err != nil {
			t.Error(err)
		}
	})
	stop := sync.OnceFunc(func() { cancel(); parts.Wait() })
	defer stop()

	// The clients, those who are wrong among them. A session belongs into its own person's cookie, which is set again each minute, and nowhere else.
	sessionOf := map[*http.Client]string{}
	ask := func(c *http.Client, method, path, key, kind, body string, belongs ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, here+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", key)
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		resp, err := c.Do(req)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		f.in("answer: "+method+" "+path+": cookies", fmt.Sprint(resp.Header.Values("Set-Cookie")), append(belongs, sessionOf[c])...)
		resp.Header.Del("Set-Cookie")
		f.in("answer: "+method+" "+path, string(answer)+fmt.Sprint(resp.Header), belongs...)
		return resp.StatusCode, string(answer)
	}
	const js, form = "application/json", "application/x-www-form-urlencoded"
	api := func(method, path, body string, belongs ...string) (int, string) {
		t.Helper()
		return ask(http.DefaultClient, method, path, planted["API key"], js, body, belongs...)
	}
	spilled := fmt.Sprintf("%q", strings.Join([]string{planted["bank account"], planted["social security number"], planted["client's e-mail"], planted["street"], planted["given name"], planted["API key"]}, " "))
	const base = "/api/account-closure/"
	ids := make([]string, len(accounts))
	for n, a := range accounts {
		truth, err := broker.Truth(a)
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"ach_relationship_id": %q, "confirm_liquidation": true, "confirm_irreversible": true, "email": %q, "user_id": %q, "reason": "moved away"}`, truth.ACHRelationships[0].ID, planted["client's e-mail"], planted["user id"])
		for status, answer := 0, ""; status != http.StatusAccepted && status != http.StatusOK; { // the broker's answers are at times no answers
			if status, answer = api("POST", base+"initiate/"+a, body); status != http.StatusAccepted && status != http.StatusOK && status != http.StatusServiceUnavailable && status != http.StatusInternalServerError {
				t.Fatalf("initiate answered %d: %s", status, answer)
			} else if status < 300 {
				var job struct {
					JobID string `json:"job_id"`
				}
				if err := json.Unmarshal([]byte(answer), &job); err != nil {
					t.Fatal(err)
				}
				ids[n] = job.JobID
			}
		}
	}
	for _, body := range []string{spilled, "{" + spilled, `{"priority": ` + spilled + `}`, `{` + spilled + `: 1}`, `{"email": ` + spilled + `}`, `{"ach_relationship_id": ` + spilled + `, "confirm_irreversible": ` + spilled + `}`} {
		api("POST", base+"initiate/"+accounts[2], body)
		api("POST", base+"batch", `{"accounts": [`+body+`]}`)
		api("POST", base+"cancel/"+accounts[2], body)
	}
	api("GET", base+"progress/"+planted["bank account"], "")
	api("GET", "/api/job-status/"+url.PathEscape(planted["street"]), "")
	api("GET", "/api/account-closure?search="+url.QueryEscape(planted["client's e-mail"])+"&state="+planted["social security number"]+"&cursor="+planted["bank account"], "")
	api("GET", "/"+planted["user id"]+"?"+planted["bank account"], "")
	ask(http.DefaultClient, "POST", base+"initiate/"+accounts[2], planted["a wrong key"], planted["street"], spilled)
	ask(http.DefaultClient, "GET", base+"progress/"+accounts[2], planted["a wrong key"], js, "")
	ask(http.DefaultClient, "GET", "/panic", "", js, "")

	// People.
	signedIn := func(path string, form url.Values) *http.Client {
		t.Helper()
		jar, _ := cookiejar.New(nil)
		c := &http.Client{Jar: jar}
		if status, answer := ask(c, "POST", path, "", "application/x-www-form-urlencoded", form.Encode()); status != http.StatusOK {
			t.Fatalf("sign in at %s: %d %s", path, status, answer)
		}
		at, _ := url.Parse(here)
		for _, cookie := range jar.Cookies(at) {
			sessionOf[c] = path + "'s session"
			f.also(sessionOf[c], cookie.Value)
		}
		return c
	}
	ask(http.DefaultClient, "POST", "/signin", "", form, url.Values{"name": {planted["operator's password"]}, "password": {planted["API key"]}}.Encode(), "operator's password") // it is shown in its field again
	signedIn("/signin", url.Values{"name": {"ann"}, "password": {planted["operator's password"]}})
	viewer := signedIn("/signin/demo", url.Values{"role": {"viewer"}})

	over := func() bool {
		for _, id := range ids {
			c, err := p.ledger.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if c.State == closure.Running {
				return false
			}
		}
		return letters.Load() > 2 && spilling.denied.Load() > 0 && spilling.paged.Load() > 5 && spilling.cut.Load() > 2
	}
	pages := func() {
		shown := []string{"/", "/closures", "/attention", "/system", "/redrives", "/metrics"}
		for _, id := range ids {
			shown = append(shown, "/closures/"+id, "/closures/"+id+"/case-file")
		}
		for _, page := range shown {
			if status, answer := ask(viewer, "GET", page, "", js, ""); status != http.StatusOK {
				t.Errorf("a viewer is answered %d at %s: %s", status, page, answer)
			}
		}
		for _, q := range []string{"account_closure", "account_closure_bulk"} {
			for _, set := range []string{"", "/pending_tasks", "/scheduled_tasks", "/retry_tasks", "/archived_tasks", "/completed_tasks", "/active_tasks"} {
				ask(viewer, "GET", "/monitoring/api/queues/"+q+set, "", js, "")
			}
		}
		for n, id := range ids {
			api("GET", base+"progress/"+accounts[n], "")
			api("GET", "/api/job-status/"+id, "")
		}
		api("GET", "/api/queues", "")
		api("GET", "/health", "")
	}
	until := time.After(6 * time.Minute) // under the race detector each page takes long
	for again := time.NewTicker(500 * time.Millisecond); !over(); {
		pages()
		select {
		case <-again.C:
		case <-until:
			t.Fatalf("the closures do not end: %d refused, %d pages, %d cut, %d letters", spilling.denied.Load(), spilling.paged.Load(), spilling.cut.Load(), letters.Load())
		}
	}
	pages()
	stop()

	// What is left.
	seen.tokens.Range(func(token, _ any) bool {
		f.also("task token "+token.(string), token.(string))
		return true
	})
	f.in("log", log.String())
	pagesOfLedger(t, f, path)
	if err := p.close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"msg=visit", `"msg":"visit"`, "level=debug", "could not hand over a letter", "(address)", "(name)", "http: panic serving", "bytes that are no JSON", "sign-in refused", "wrong_key"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q: the test does not see what it should", want)
		}
	}
	if f.looked["spans"] < 100_000 {
		t.Errorf("the collector was sent %d bytes", f.looked["spans"])
	}
	for where, around := range f.found {
		t.Errorf("%s is in\n\t%q", where, around)
	}
	t.Logf("%d refused payouts, %d pages for JSON, %d broken connections, %d letters refused; looked through (bytes) %v", spilling.denied.Load(), spilling.paged.Load(), spilling.cut.Load(), letters.Load(), f.looked)
}

// pagesOfLedger looks through every column of every table, but for those that keep a thing on purpose.
func pagesOfLedger(t *testing.T, f *finds, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tables := column(t, db, "SELECT name FROM sqlite_master WHERE type = 'table'")
	if len(tables) < 10 {
		t.Errorf("only the tables %v", tables)
	}
	for _, table := range tables {
		for _, name := range column(t, db, "SELECT name FROM pragma_table_info('"+table+"')") {
			if at := table + "." + name; at == "closures.email" || at == "closures.user_id" || at == "closures.token" { // what the client gave; the present task's token
				continue
			}
			f.in("ledger: "+table+"."+name, strings.Join(column(t, db, `SELECT CAST("`+name+`" AS TEXT) FROM "`+table+`"`), "\n"))
		}
	}
}

func column(t *testing.T, db *sql.DB, query string) (out []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var v sql.NullString
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v.String)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
