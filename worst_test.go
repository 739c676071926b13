package oauth2

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A fleet that looks for the worst: processes that do all that the public page offers with one store, all the time,
// and are killed. This file uses that page, server_test.go and nothing else, since .ci/run takes it to another module
// too, where the store is a database.

const (
	worstProcesses  = 8
	worstGoroutines = 8
	worstLifetime   = 2 * time.Second // of an access token
	worstWait       = 10 * time.Second
)

// A worstJob is what a child process has to do. It travels in the environment variable OAUTH2_WORST_JOB.
type worstJob struct {
	ID     string // of the process, for the server
	Store  string // the name of the file, or of the row
	Server string
	Until  time.Time
	OneOff bool // there is one sign-in, and it is saved by whatever spelling of the store
}

// A worstEvent is what a child process tells, as a line of JSON, as soon as it knows.
type worstEvent struct {
	// "holds": these tokens were in one place. "login required", "revoked": how a call ended. "browser": one was
	// opened. "ended": a token came from an object that had been revoked. "slow", "error", "end": as they say.
	Kind     string
	Op       string
	From, To time.Time // of the call
	Tokens   worstTokens
	Error    string

	Calls                   map[string]int // at the end
	Descriptors, Goroutines int            // more than at the beginning

	process string
}

type worstTokens struct{ Access, Refresh, ID string }

func tokensOf(t *Token) worstTokens {
	return worstTokens{t.AccessToken.Reveal(), t.RefreshToken.Reveal(), t.IDToken.Reveal()}
}

// A worstProcess is a child process.
type worstProcess struct {
	job    worstJob
	client *ClientSecrets
	store  func() Store // one of its spellings
	shared atomic.Pointer[worstObject]

	mu    sync.Mutex // guards what follows, and the standard output
	said  map[worstTokens]bool
	calls map[string]int
}

// A worstObject is credentials, and whether this process has revoked them.
type worstObject struct {
	*Credentials
	store         Store
	ending, ended atomic.Bool
}

// TestWorstChild is the main function of a child process of TestWorstFleet, and nothing else.
func TestWorstChild(t *testing.T) {
	worstChild(t, func(name string) (func() Store, func() error) {
		dir, base := filepath.Split(name)
		spellings := []string{name, dir + "./" + base, dir + "/" + base}
		store := func() Store { return FileStore(spellings[rand.IntN(len(spellings))]) }
		return store, func() error { return nil }
	})
}

// worstChild is what a child process does. open opens the store of a name.
func worstChild(t *testing.T, open func(name string) (store func() Store, closeAll func() error)) {
	text, ok := os.LookupEnv("OAUTH2_WORST_JOB")
	if !ok {
		return
	}
	p := &worstProcess{said: map[worstTokens]bool{}, calls: map[string]int{}}
	if err := json.Unmarshal([]byte(text), &p.job); err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // what the runtime opens once for all
		l.Close()
	}
	descriptors, goroutines := openDescriptors(), runtime.NumGoroutine()
	store, closeAll := open(p.job.Store)
	p.store = store
	transport := &http.Transport{}
	p.client = worstClient(p.job.Server, worstTransport{p.job.ID, transport})
	var running sync.WaitGroup
	for range worstGoroutines {
		running.Go(func() { p.work(t.Context()) })
	}
	running.Wait()
	// A process that ended in the middle of a refresh would lose the sign-in, as one that is killed.
	end := worstEvent{Kind: "end", Calls: p.calls}
	for deadline := time.Now().Add(worstWait); ; time.Sleep(20 * time.Millisecond) {
		transport.CloseIdleConnections()
		end.Goroutines = runtime.NumGoroutine() - goroutines
		if end.Goroutines <= 0 || closeAll == nil || time.Now().After(deadline) {
			break
		}
		if end.Goroutines <= 2 { // no refresh is left that could need the store; see sql.DB
			if err := closeAll(); err != nil {
				t.Error(err)
			}
		}
	}
	end.Descriptors = openDescriptors() - descriptors
	p.say(end)
}

// openDescriptors returns how many there are, where that can be known.
func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// worstClient is the client of a TestServer at an address.
func worstClient(server string, transport http.RoundTripper) *ClientSecrets {
	s := NewMemoryServer()
	return &ClientSecrets{
		ClientID:      s.ClientID,
		ClientSecret:  NewSecret(s.ClientSecret),
		AuthMethod:    s.AuthMethod,
		Issuer:        server,
		AuthURI:       server + "/authorize",
		TokenURI:      server + "/token",
		RevocationURI: server + "/revoke",
		HTTPClient:    &http.Client{Transport: transport},
	}
}

// A worstTransport tells the server which process asks.
type worstTransport struct {
	id   string
	base http.RoundTripper
}

func (t worstTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("X-Process", t.id)
	return t.base.RoundTrip(req)
}

func (p *worstProcess) say(e worstEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == "holds" && (e.Op == "Token" || e.Op == "Save") {
		if p.said[e.Tokens] {
			return
		}
		p.said[e.Tokens] = true
	}
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(line, '\n')) // whole, or killed
}

// work is what a goroutine of a child process does.
func (p *worstProcess) work(ctx context.Context) {
	var own atomic.Pointer[worstObject]
	var former []*worstObject // objects that were dropped, and may save what they have
	for ; time.Now().Before(p.job.Until); time.Sleep(20*time.Millisecond + rand.N(40*time.Millisecond)) {
		slot := &own
		if rand.IntN(2) == 0 {
			slot = &p.shared
		}
		o := slot.Load()
		choice := rand.IntN(100_000)
		if p.job.OneOff && choice >= 8500 && choice < 8595 { // neither another sign-in nor the end of this one
			choice = 100_000
		}
		switch {
		case o == nil && choice < 2000:
			slot.Store(p.signIn(ctx, false))
		case o == nil || choice < 7000:
			if o != nil {
				former = append(former, o)
				former = former[max(0, len(former)-8):]
			}
			slot.Store(p.load(ctx))
		case choice < 8500:
			if next := p.signIn(ctx, false); next != nil {
				slot.Store(next)
			}
		case choice < 8570:
			if next := p.signIn(ctx, true); next != nil {
				slot.Store(next)
			}
		case choice < 8595:
			o = p.oneOf(o, former)
			p.revoke(ctx, o)
			if rand.IntN(2) == 0 {
				slot.CompareAndSwap(o, nil)
			}
		case choice < 9400:
			p.do(ctx, "Refresh", o, o.Refresh)
		case choice < 11_000:
			o = p.oneOf(o, former)
			p.do(ctx, "Save", o, func(ctx context.Context) (*Token, error) {
				store := o.store
				if p.job.OneOff {
					store = p.store()
				}
				return heldToken(o.Credentials), o.Save(ctx, store)
			})
		default:
			p.do(ctx, "Token", o, o.Token)
		}
		if p.shared.Load() == nil {
			p.shared.CompareAndSwap(nil, own.Load())
		}
	}
}

// oneOf returns o or, half of the time, one of former.
func (p *worstProcess) oneOf(o *worstObject, former []*worstObject) *worstObject {
	if len(former) > 0 && rand.IntN(2) == 0 {
		return former[rand.IntN(len(former))]
	}
	return o
}

// do makes a call and tells what came of it. o is nil if the call makes an object.
func (p *worstProcess) do(
	ctx context.Context, op string, o *worstObject, call func(context.Context) (*Token, error),
) (ok bool) {
	ended := o != nil && o.ended.Load()
	ctx, cancel := context.WithTimeout(ctx, 45*time.Second)
	defer cancel()
	e := worstEvent{Op: op, From: time.Now()}
	tok, err := call(ctx)
	e.To = time.Now()
	p.mu.Lock()
	p.calls[op]++
	p.mu.Unlock()
	if e.To.Sub(e.From) > worstWait {
		e.Kind = "slow"
		p.say(e)
	}
	switch {
	case errors.Is(err, ErrLoginRequired) && o != nil && o.ending.Load():
		return false // as it should be
	case errors.Is(err, ErrLoginRequired):
		e.Kind, e.Error = "login required", err.Error()
		p.say(e)
		return false
	case err != nil:
		e.Kind, e.Error = "error", err.Error()
		p.say(e)
	}
	if tok != nil {
		e.Kind, e.Tokens = "holds", tokensOf(tok)
		p.say(e)
		if ended && op != "Save" {
			e.Kind = "ended"
			p.say(e)
		}
	}
	return err == nil
}

// heldToken returns what credentials hold, or nil.
func heldToken(c *Credentials) *Token {
	data, err := c.MarshalAuthorizedUser()
	if err != nil {
		return nil
	}
	return fileToken(data)
}

func fileToken(data []byte) *Token {
	var file struct {
		Token        string
		RefreshToken string `json:"refresh_token"`
		IDToken      string `json:"id_token"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil
	}
	return &Token{
		AccessToken:  NewSecret(file.Token),
		RefreshToken: NewSecret(file.RefreshToken),
		IDToken:      NewSecret(file.IDToken),
	}
}

func (p *worstProcess) load(ctx context.Context) (o *worstObject) {
	p.do(ctx, "Load", nil, func(ctx context.Context) (*Token, error) {
		store := p.store()
		creds, err := LoadCredentials(ctx, p.client, store)
		if err != nil {
			return nil, err
		}
		o = &worstObject{Credentials: creds, store: store}
		return heldToken(creds), nil
	})
	return o
}

// signIn signs somebody in: if nobody is, or, by force, in place of whoever is.
func (p *worstProcess) signIn(ctx context.Context, force bool) (o *worstObject) {
	flow := NewInstalledAppFlow(p.client, "a")
	if force && rand.IntN(2) == 0 { // so that what a sign-in brings is not always the same
		flow = NewInstalledAppFlow(p.client, "a", "openid")
	}
	flow.Prompt = io.Discard
	op, start := "SignIn", time.Now()
	flow.OpenBrowser = func(authURL string) error {
		if !force {
			p.say(worstEvent{Kind: "browser", Op: op, From: start, To: time.Now()})
		}
		go browse(authURL)
		return nil
	}
	sign := flow.SignIn
	flow.Store = p.store()
	if force {
		op = "login"
		sign = func(ctx context.Context) (*Credentials, error) {
			creds, err := flow.RunLocalServer(ctx)
			if err != nil {
				return nil, err
			}
			return creds, creds.Save(ctx, flow.Store)
		}
	}
	ok := p.do(ctx, op, nil, func(ctx context.Context) (*Token, error) {
		creds, err := sign(ctx)
		if err != nil {
			return nil, err
		}
		o = &worstObject{Credentials: creds, store: flow.Store}
		return heldToken(creds), nil
	})
	if !ok {
		return nil
	}
	return o
}

// browse plays the browser and the person.
func browse(authURL string) {
	client := &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	for range 2 {
		resp, err := client.Get(authURL)
		if err != nil {
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		authURL = resp.Header.Get("Location")
	}
}

func (p *worstProcess) revoke(ctx context.Context, o *worstObject) {
	o.ending.Store(true)
	start := time.Now()
	ok := p.do(ctx, "Revoke", o, func(ctx context.Context) (*Token, error) { return nil, o.Revoke(ctx) })
	if ok {
		o.ended.Store(true)
		p.say(worstEvent{Kind: "revoked", Op: "Revoke", From: start, To: time.Now()})
		p.do(ctx, "Token", o, o.Token)
	}
}

// A worstFleet is the parent of all, and the server.
//
// Each sign-in is of another person: a family of tokens. What is known of the order of events is this: a family is
// born no sooner than its code came, and it was stored no later than it was seen there. So of two families one surely
// replaced the other if it was born after the other had been seen in the store. Whatever can't be known for sure is
// nobody's fault.
type worstFleet struct {
	server *TestServer
	store  Store
	child  string       // the test that is the child process
	gate   sync.RWMutex // read while the server deals with a request; held while a process is killed

	mu        sync.Mutex // guards what follows
	dead      map[string]bool
	families  map[*tokenFamily]*worstFamily
	owners    map[string]*worstFamily // by each token
	requests  []worstRequest
	refreshed worstRequest // the last that succeeded
	events    []worstEvent
	sightings []worstEvent // of other tokens in the store
	erasures  []worstEvent // by the parent, which is a user who removes what is stored
	kills     int
	heldOff   int // kills that would have lost a sign-in by themselves
}

// A worstFamily is the tokens of a sign-in.
type worstFamily struct {
	person       string
	born, stored time.Time // stored may be zero: it never was seen there
	tokens       *tokenFamily
}

// A worstRequest is one to /token or /revoke.
type worstRequest struct {
	time    time.Time
	process string
	grant   string // or "revoke"
	family  *worstFamily
	issued  string // refresh token
	denied  bool
}

// startFleet starts the server of a fleet that has a store.
func startFleet(t *testing.T, store Store, child string) *worstFleet {
	f := &worstFleet{
		server:   NewMemoryServer(),
		store:    store,
		child:    child,
		dead:     map[string]bool{},
		families: map[*tokenFamily]*worstFamily{},
		owners:   map[string]*worstFamily{},
	}
	f.server.Rotate, f.server.ExpiresIn, f.server.IDTokenClaims = true, worstLifetime, f.claim
	listener := httptest.NewUnstartedServer(f)
	f.server.URL = "http://" + listener.Listener.Addr().String() // before a stranger's request comes
	listener.Start()
	t.Cleanup(listener.Close)
	return f
}

// ServeHTTP lets no request pass while a process is being killed, and none of a process that is dead.
func (f *worstFleet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := worstRequest{time: time.Now(), process: r.Header.Get("X-Process")}
	if r.URL.Path != "/token" && r.URL.Path != "/revoke" {
		f.server.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	form, formErr := url.ParseQuery(string(body))
	if errors.Join(err, formErr) != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.gate.RLock()
	defer f.gate.RUnlock()
	f.mu.Lock()
	isDead := f.dead[req.process]
	f.mu.Unlock()
	if isDead {
		panic(http.ErrAbortHandler)
	}
	answer := httptest.NewRecorder()
	f.server.ServeHTTP(answer, r)
	req.grant = cmp.Or(form.Get("grant_type"), "revoke")
	f.note(req, form, answer)
	time.Sleep(rand.N(20 * time.Millisecond))
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// note remembers a request and whose tokens the answer has.
func (f *worstFleet) note(req worstRequest, form url.Values, answer *httptest.ResponseRecorder) {
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
	}
	if answer.Body.Len() > 0 {
		json.Unmarshal(answer.Body.Bytes(), &tokens)
	}
	f.server.mu.Lock()
	family := f.server.access[tokens.Access].tokenFamily
	f.server.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	req.denied = answer.Code != http.StatusOK
	req.issued = tokens.Refresh
	if family != nil {
		req.family = f.family(family)
		if req.grant == "authorization_code" {
			req.family.born = req.time
		}
		for _, token := range []string{tokens.Access, tokens.Refresh, tokens.ID} {
			f.owners[token] = req.family
		}
		delete(f.owners, "")
	} else {
		req.family = f.owners[cmp.Or(form.Get("token"), form.Get("refresh_token"))]
	}
	f.requests = append(f.requests, req)
	if req.grant == "refresh_token" && !req.denied {
		f.refreshed = req
	}
}

// family returns what is known of a family. f.mu is held.
func (f *worstFleet) family(g *tokenFamily) *worstFamily {
	if f.families[g] == nil {
		f.families[g] = &worstFamily{person: fmt.Sprint("person-", len(f.families)+1), tokens: g}
	}
	return f.families[g]
}

// claim makes an ID token that of the person whose access token it comes with.
func (f *worstFleet) claim(claims map[string]any) {
	f.server.mu.Lock()
	var family *tokenFamily
	for token, access := range f.server.access {
		if accessTokenHash(token) == claims["at_hash"] {
			family = access.tokenFamily
		}
	}
	f.server.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	claims["sub"] = f.family(family).person
	claims["email"] = f.family(family).person + "@example.com"
}

// watch looks at the store all the time, and remembers when it has other tokens.
func (f *worstFleet) watch(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		e := worstEvent{Kind: "holds", Op: "store", From: time.Now()}
		data, err := f.store.Load(ctx)
		if err != nil {
			continue // a test of its own
		}
		e.To = time.Now()
		if tok := fileToken(data); tok != nil {
			e.Tokens = tokensOf(tok)
		}
		f.mu.Lock()
		if n := len(f.sightings); n == 0 || f.sightings[n-1].Tokens != e.Tokens {
			f.sightings = append(f.sightings, e)
		}
		f.mu.Unlock()
	}
}

// erase removes what is stored every now and then, without a word to the server. It may be seen in the store until To.
func (f *worstFleet) erase(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second + rand.N(3*time.Second)):
		}
		e := worstEvent{Kind: "erased", Op: "erase", From: time.Now(), process: "parent"}
		err := f.store.Update(ctx, func(old []byte) ([]byte, error) {
			if tok := fileToken(old); tok != nil {
				e.Tokens = tokensOf(tok)
			}
			return nil, nil
		})
		e.To = time.Now()
		f.mu.Lock()
		if err != nil {
			e.Kind, e.Error = "error", err.Error()
			f.events = append(f.events, e)
		}
		f.erasures = append(f.erasures, e)
		f.mu.Unlock()
	}
}

// run starts a process, and returns it and a channel that is closed when its output has ended.
func (f *worstFleet) run(t *testing.T, job worstJob) (child *exec.Cmd, done chan struct{}) {
	data, err := json.Marshal(job)
	if err != nil {
		t.Error(err)
	}
	child = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+f.child+"$", "-test.count=1")
	child.Env = append(os.Environ(), "OAUTH2_WORST_JOB="+string(data))
	child.Stderr = os.Stderr
	stdout, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	done = make(chan struct{})
	if err != nil {
		t.Error(err)
		close(done)
		return child, done
	}
	go func() {
		defer close(done)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			e := worstEvent{process: job.ID}
			if json.Unmarshal(lines.Bytes(), &e) == nil { // else it is a line of the testing package, or cut
				e.process = job.ID
				f.mu.Lock()
				f.events = append(f.events, e)
				f.mu.Unlock()
			}
		}
		io.Copy(io.Discard, stdout)
	}()
	return child, done
}

// slot keeps one process running until the end, and kills it about every pause.
func (f *worstFleet) slot(t *testing.T, number int, job worstJob, pause time.Duration) {
	for life, killed := 1, true; killed; life++ {
		job.ID = fmt.Sprintf("%d.%d", number, life)
		child, done := f.run(t, job)
		killed = false
		for running := true; running && !killed; {
			select {
			case <-time.After(pause/2 + rand.N(pause)):
				// Not so late that the next one could do nothing.
				killed = time.Until(job.Until) > 2*time.Second && f.kill(t, child, job.ID)
			case <-done:
				running = false
			}
		}
		<-done
		if err := child.Wait(); err != nil && !killed {
			t.Errorf("process %s: %v", job.ID, err)
		}
	}
}

// kill kills a process, unless that alone would lose a sign-in: the server has answered its refresh, and what it
// answered is not in the store.
func (f *worstFleet) kill(t *testing.T, child *exec.Cmd, id string) bool {
	f.gate.Lock()
	defer f.gate.Unlock()
	f.mu.Lock()
	last := f.refreshed
	f.mu.Unlock()
	// Refreshes exclude each other, so that the one before is done.
	for n := 0; last.process == id; n++ {
		data, err := f.store.Load(t.Context())
		if err == nil && bytes.Contains(data, []byte(last.issued)) {
			break
		}
		if n == 60 {
			f.mu.Lock()
			f.heldOff++
			f.mu.Unlock()
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.mu.Lock()
	f.dead[id] = true
	f.kills++
	f.mu.Unlock()
	if err := child.Process.Kill(); err != nil {
		t.Errorf("process %s: %v", id, err)
	}
	return true
}

// runWorstFleet lets a fleet work on a store, and judges what came of it.
func runWorstFleet(t *testing.T, f *worstFleet, job worstJob) {
	used, pause := 6*time.Second, 4*time.Second
	if os.Getenv("OAUTH2_LONG") != "" {
		used, pause = 30*time.Second, 8*time.Second
	}
	job.Server, job.Until = f.server.URL, time.Now().Add(used)
	ctx, cancel := context.WithCancel(t.Context())
	var watching, running sync.WaitGroup
	watching.Go(func() { f.watch(ctx) })
	if !job.OneOff {
		watching.Go(func() { f.erase(ctx) })
	}
	for number := range worstProcesses {
		running.Go(func() { f.slot(t, number, job, pause) })
	}
	running.Wait()
	cancel()
	watching.Wait()
	f.judge(t)
}

// judge says what the fleet did, and what should not have been.
func (f *worstFleet) judge(t *testing.T) {
	f.seen()
	faults := map[string][]string{}
	add := func(kind, format string, args ...any) {
		faults[kind] = append(faults[kind], fmt.Sprintf(format, args...))
	}
	f.judgeRequests(add)
	calls, kinds, ends := map[string]int{}, map[string]int{}, 0
	logouts := 0
	for _, e := range f.events {
		f.judgeTokens(e, add)
		short := fmt.Sprintf("process %s, %s, %s to %s", e.process, e.Op, f.clock(e.From), f.clock(e.To))
		switch e.Kind {
		case "login required":
			kinds["(sign-in required) "+errorKind(e.Error)]++
			if f.alive(e.From.Add(-2*time.Second), e.To) {
				add("lost", "%s: %s", short, e.Error)
			}
		case "browser":
			if f.alive(e.From, e.To) {
				add("lost", "%s: a browser opened", short)
			}
		case "error":
			kinds[e.Op+": "+errorKind(e.Error)]++
		case "slow":
			add("waits", "%s", short)
		case "ended":
			add("foreign", "%s: revoked credentials have a token", short)
		case "revoked":
			logouts++
			f.judgeLogout(e, add)
		case "end":
			ends++
			for op, n := range e.Calls {
				calls[op] += n
			}
			if e.Descriptors > 0 {
				add("descriptors", "process %s: %d", e.process, e.Descriptors)
			}
			if e.Goroutines > 0 {
				add("goroutines", "process %s: %d", e.process, e.Goroutines)
			}
		}
	}
	for _, e := range f.sightings {
		f.judgeTokens(e, add)
	}
	for _, e := range f.erasures {
		f.judgeErasure(e, add)
	}
	f.judgeEnd(t, add)
	if ends < worstProcesses {
		t.Errorf("%d processes came to their end", ends)
	}
	refreshes := map[string]int{}
	for _, r := range f.requests {
		refreshes[r.grant]++
	}
	t.Logf("calls of the processes that were not killed: %v", calls)
	t.Logf("requests: %v; %d persons, %d logouts, %d erasures, %d kills, %d held off",
		refreshes, len(f.families), logouts, len(f.erasures), f.kills, f.heldOff)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%6d × %s", kinds[kind], kind)
	}
	all := []string{"reuses", "lost", "foreign", "stored again", "waits", "descriptors", "goroutines"}
	var counts []string
	for _, kind := range all {
		counts = append(counts, fmt.Sprintf("%s %d", kind, len(faults[kind])))
		if n := len(faults[kind]); n > 0 {
			t.Errorf("%s: %d\n\t%s", kind, n, strings.Join(faults[kind][:min(n, 6)], "\n\t"))
		}
	}
	t.Log(strings.Join(counts, ", "))
}

// seen finds out when each family was in the store at the latest.
func (f *worstFleet) seen() {
	for _, e := range slices.Concat(f.events, f.sightings) {
		owner := f.owners[e.Tokens.Refresh]
		isStored := e.Op == "store" || e.Op == "Load" || e.Op == "SignIn" || e.Op == "login"
		if owner != nil && e.Kind == "holds" && isStored && (owner.stored.IsZero() || e.To.Before(owner.stored)) {
			owner.stored = e.To
		}
	}
}

// clock returns a time as seconds from the first request.
func (f *worstFleet) clock(at time.Time) string {
	if len(f.requests) == 0 {
		return "?"
	}
	return fmt.Sprintf("%.3f s", at.Sub(f.requests[0].time).Seconds())
}

// replaces reports whether a family was surely stored after old.
func (g *worstFamily) replaces(old *worstFamily) bool {
	return !g.stored.IsZero() && !old.stored.IsZero() && g.born.After(old.stored)
}

// successor returns a family that surely was in the store in place of old at a time, or nil.
func (f *worstFleet) successor(old *worstFamily, at time.Time) *worstFamily {
	for _, g := range f.families {
		if g.replaces(old) && g.stored.Before(at) {
			return g
		}
	}
	return nil
}

// alive reports whether there surely was a sign-in in the store, all the time, that nobody had revoked or erased.
func (f *worstFleet) alive(from, to time.Time) bool {
	for _, g := range f.families {
		if g.stored.IsZero() || !g.stored.Before(from) {
			continue
		}
		isOver := slices.ContainsFunc(f.requests, func(r worstRequest) bool {
			return r.grant == "revoke" && r.family != nil && !r.time.Before(g.born) && !r.time.After(to) &&
				!g.replaces(r.family)
		}) || slices.ContainsFunc(f.erasures, func(e worstEvent) bool {
			owner := f.owners[e.Tokens.Refresh]
			isEarlier := owner != nil && g.replaces(owner)
			return e.Tokens.Refresh != "" && !e.To.Before(g.born) && !e.From.After(to) && !isEarlier
		})
		if !isOver {
			return true
		}
	}
	return false
}

// judgeTokens judges tokens that were in one place.
func (f *worstFleet) judgeTokens(e worstEvent, add func(kind, format string, args ...any)) {
	if e.Kind != "holds" {
		return
	}
	var owner *worstFamily
	for _, token := range []string{e.Tokens.Access, e.Tokens.Refresh, e.Tokens.ID} {
		o := f.owners[token]
		switch {
		case token == "":
			continue
		case o == nil:
			add("foreign", "%s of process %s: a token that the server does not know", e.Op, e.process)
		case owner != nil && o != owner:
			add("foreign", "%s of process %s at %s: tokens of %s and %s", e.Op, e.process, f.clock(e.To),
				owner.person, o.person)
		}
		owner = cmp.Or(o, owner)
	}
	if owner == nil {
		return
	}
	// What is read from the store is as new as can be. A refresh may be one that another call began.
	slack := map[string]time.Duration{"Refresh": time.Second, "Load": 0, "store": 0}
	allowed, ok := slack[e.Op]
	g := f.successor(owner, e.From.Add(-allowed))
	switch {
	case !ok || g == nil:
	case e.Op == "Refresh":
		add("foreign", "Refresh of process %s at %s: %s, whom %s had replaced %v ago", e.process, f.clock(e.From),
			owner.person, g.person, e.From.Sub(g.stored))
	default:
		add("stored again", "%s of process %s at %s: %s, whom %s had replaced %v ago", e.Op, e.process,
			f.clock(e.From), owner.person, g.person, e.From.Sub(g.stored))
	}
}

// judgeRequests judges what the server was asked for.
func (f *worstFleet) judgeRequests(add func(kind, format string, args ...any)) {
	for range f.server.Reuses() {
		add("reuses", "at the server")
	}
	for _, r := range f.requests {
		if r.family == nil || r.grant != "refresh_token" {
			continue
		}
		if g := f.successor(r.family, r.time.Add(-time.Second)); g != nil {
			add("foreign", "process %s refreshed the token of %s at %s, whom %s had replaced at %s", r.process,
				r.family.person, f.clock(r.time), g.person, f.clock(g.stored))
		}
	}
}

// judgeLogout judges what came after a Revoke that succeeded: what it revoked is never stored again.
func (f *worstFleet) judgeLogout(e worstEvent, add func(kind, format string, args ...any)) {
	for _, r := range f.requests {
		isOfCall := r.process == e.process && !r.time.Before(e.From) && !r.time.After(e.To)
		if r.grant != "revoke" || r.family == nil || !isOfCall {
			continue
		}
		for _, later := range slices.Concat(f.sightings, f.events) {
			isStored := later.Kind == "holds" && (later.Op == "store" || later.Op == "Load")
			if isStored && later.From.After(e.To) && f.owners[later.Tokens.Refresh] == r.family {
				add("stored again", "%s of process %s at %s: %s, whom process %s had logged out at %s", later.Op,
					later.process, f.clock(later.From), r.family.person, e.process, f.clock(e.To))
				return
			}
		}
	}
}

// judgeErasure judges what came after the store was erased: what was there is never stored again, nor used.
func (f *worstFleet) judgeErasure(e worstEvent, add func(kind, format string, args ...any)) {
	owner := f.owners[e.Tokens.Refresh]
	if e.Kind != "erased" || owner == nil {
		return
	}
	for _, later := range slices.Concat(f.sightings, f.events) {
		isStored := later.Kind == "holds" && (later.Op == "store" || later.Op == "Load")
		if isStored && later.From.After(e.To) && f.owners[later.Tokens.Refresh] == owner {
			add("stored again", "%s of process %s at %s: %s, who had been erased at %s", later.Op, later.process,
				f.clock(later.From), owner.person, f.clock(e.To))
			break
		}
	}
	for _, r := range f.requests {
		if r.grant == "refresh_token" && r.family == owner && r.time.After(e.To.Add(time.Second)) {
			add("foreign", "process %s refreshed the token of %s at %s, who had been erased at %s", r.process,
				owner.person, f.clock(r.time), f.clock(e.To))
		}
	}
}

// judgeEnd judges what is left in the store: a sign-in that works, or none, since somebody revoked it.
func (f *worstFleet) judgeEnd(t *testing.T, add func(kind, format string, args ...any)) {
	now := time.Now()
	data, err := f.store.Load(t.Context())
	if err != nil {
		add("lost", "the store can't be read at the end: %v", err)
		return
	}
	tok := fileToken(data)
	if tok == nil {
		if f.alive(now, now) {
			add("lost", "the store is empty at the end")
		}
		return
	}
	refresh := tok.RefreshToken.Reveal()
	isRevoked := slices.ContainsFunc(f.requests, func(r worstRequest) bool {
		return r.grant == "revoke" && r.family == f.owners[refresh]
	})
	f.server.mu.Lock()
	g := f.server.refresh[refresh]
	works := g != nil && g.current == refresh && !g.revoked
	f.server.mu.Unlock()
	if works == isRevoked {
		add("lost", "the refresh token in the store at the end: works %v, revoked %v", works, isRevoked)
		return
	}
	if isRevoked {
		return
	}
	creds, err := LoadCredentials(t.Context(), worstClient(f.server.URL, http.DefaultTransport), f.store)
	if err == nil {
		_, err = creds.Token(t.Context())
	}
	if err != nil {
		add("lost", "the next process: %v", err)
	}
}

var varying = regexp.MustCompile(`"[^"]*/[^"]*"|\b[0-9.]+m?s\b|[0-9]{4,}`)

// errorKind returns the text of an error without what differs from one to the next.
func errorKind(text string) string { return varying.ReplaceAllString(text, "…") }

// Eight processes of eight goroutines do all that there is to do with one file, and are killed while they do it. The
// server revokes a sign-in whose refresh token comes twice, and each sign-in is of another person.
//
// W69 W70 W71 W79 W80 W82 W84
func TestWorstFleet(t *testing.T) {
	name := worstFile(t)
	runWorstFleet(t, startFleet(t, FileStore(name), "TestWorstChild"), worstJob{Store: name})
}

// The same with one sign-in, which is saved by objects that are older than what is stored, and that know the file by
// another name: a refresh token that was used up is never stored again.
//
// W80
func TestWorstSpellings(t *testing.T) {
	name := worstFile(t)
	f := startFleet(t, FileStore(name), "TestWorstChild")
	flow := NewInstalledAppFlow(worstClient(f.server.URL, http.DefaultTransport), "a")
	flow.Prompt, flow.Store = io.Discard, FileStore(name)
	flow.OpenBrowser = func(authURL string) error { go browse(authURL); return nil }
	if _, err := flow.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	runWorstFleet(t, f, worstJob{Store: name, OneOff: true})
}

func worstFile(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "credentials.json")
}

// accessTokenHash is the at_hash of an access token.
func accessTokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return rawBase64.EncodeToString(sum[:16])
}
