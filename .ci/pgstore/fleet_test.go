package oauth2_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"example.com/oauth2"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// These tests run the Store of store_example_test.go, to the letter, against a real PostgreSQL, with the server of
// server_test.go and the fleet of worst_test.go: .ci/run copies them here. The variables are OAUTH2_INTEROP_POSTGRES,
// which names the database, and OAUTH2_LONG.

const (
	processes  = 8
	goroutines = 8
	lifetime   = 5 * time.Second // of an access token
)

// A job is what a child process has to do. It travels in the environment variable OAUTH2_PGSTORE_JOB.
type job struct {
	Do, Row, API string
	For          time.Duration
}

type report struct {
	Tokens, Calls int
	Faults        []string
}

func open(t *testing.T) *sql.DB {
	t.Helper()
	dsn := os.Getenv("OAUTH2_INTEROP_POSTGRES")
	if dsn == "" {
		t.Fatal("OAUTH2_INTEROP_POSTGRES names no database")
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	const table = "CREATE TABLE IF NOT EXISTS credentials (name text PRIMARY KEY, data bytea)"
	if _, err := db.ExecContext(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	return db
}

// child starts a child process. It is this test binary.
func child(t *testing.T, j job) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	data, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.count=1")
	c.Env = append(os.Environ(), "OAUTH2_PGSTORE_JOB="+string(data))
	c.Stderr = os.Stderr
	stdout, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(stdout)
}

// TestChild is the main function of a child process, and nothing else.
func TestChild(t *testing.T) {
	text, ok := os.LookupEnv("OAUTH2_PGSTORE_JOB")
	if !ok {
		return
	}
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", os.Getenv("OAUTH2_INTEROP_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store := &sqlStore{db, j.Row}
	if j.Do == "hold" {
		store.Update(t.Context(), func([]byte) ([]byte, error) {
			fmt.Println("held")
			io.Copy(io.Discard, os.Stdin) // until it is killed
			<-t.Context().Done()
			return nil, nil
		})
		return
	}
	creds, err := oauth2.LoadCredentials(t.Context(), nil, store)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards r
	var r report
	var running sync.WaitGroup
	end, tick := time.Now().Add(j.For), time.NewTicker(10*time.Millisecond/goroutines)
	defer tick.Stop()
	for range goroutines {
		running.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				tok, err := creds.Token(t.Context())
				called := false
				if err == nil && n%32 == 0 {
					called, err = true, ask(t.Context(), j.API, creds)
				}
				mu.Lock()
				r.Tokens++
				if called {
					r.Calls++
				}
				if err != nil || !tok.Valid() {
					r.Faults = append(r.Faults, fmt.Sprintf("call %d: valid %v, %v", n, tok.Valid(), err))
				}
				mu.Unlock()
				<-tick.C
			}
		})
	}
	running.Wait()
	json.NewEncoder(os.Stdout).Encode(r)
}

func ask(ctx context.Context, api string, creds *oauth2.Credentials) error {
	req, err := http.NewRequestWithContext(ctx, "GET", api, nil)
	if err != nil {
		return err
	}
	resp, err := oauth2.NewClient(creds).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the API answered %s", resp.Status)
	}
	return nil
}

// Machines share a sign-in whose refresh tokens serve once: none comes twice, each machine always has a token, and
// together they ask as often as one would.
func TestFleet(t *testing.T) {
	db := open(t)
	j := job{Do: "use", Row: "fleet", For: 12 * time.Second}
	if os.Getenv("OAUTH2_LONG") != "" {
		j.For = 30 * time.Second
	}
	s := NewTestServer(t)
	s.Rotate, s.ExpiresIn, j.API = true, lifetime, s.URL+"/userinfo"
	client := &oauth2.ClientSecrets{
		ClientID:      s.ClientID,
		ClientSecret:  oauth2.NewSecret(s.ClientSecret),
		AuthMethod:    s.AuthMethod,
		TokenURI:      s.URL + "/token",
		RevocationURI: s.URL + "/revoke",
	}
	store := &sqlStore{db, j.Row}
	creds := oauth2.NewCredentials(client, oauth2.NewSecret(s.IssueRefreshToken("a")), "a")
	if err := creds.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var tokens, calls int
	var mu sync.Mutex // guards both
	for i := range processes {
		c, stdout := child(t, j)
		running.Go(func() {
			var r report
			line, err := stdout.ReadBytes('\n')
			if err == nil {
				err = json.Unmarshal(line, &r)
			}
			rest, _ := io.ReadAll(stdout)
			if err = errors.Join(err, c.Wait()); err != nil || len(r.Faults) > 0 ||
				r.Tokens < int(j.For/(50*time.Millisecond)) || r.Calls == 0 {
				t.Errorf("process %d: %d tokens, %d calls, %v, %q: %s%s",
					i, r.Tokens, r.Calls, err, r.Faults, line, rest)
			}
			mu.Lock()
			defer mu.Unlock()
			tokens, calls = tokens+r.Tokens, calls+r.Calls
		})
	}
	running.Wait()
	var refreshes []time.Time
	for _, r := range s.Requests() {
		if r.Path == "/token" {
			refreshes = append(refreshes, r.Time)
		}
	}
	if len(refreshes) < 2 {
		t.Fatalf("%d refreshes", len(refreshes))
	}
	window := refreshes[len(refreshes)-1].Sub(refreshes[0])
	one := int(window/(lifetime/2)) + 1 // a process refreshes in the middle of a short life
	t.Logf("%d tokens and %d calls of the API in %d processes: %d refreshes, where one process makes %d",
		tokens, calls, processes, len(refreshes), one)
	if len(refreshes) > one+1 || len(refreshes) < int(j.For/lifetime) || s.Reuses() != 0 {
		t.Errorf("%d refreshes in %v, where one process makes %d; %d refresh tokens came twice",
			len(refreshes), window, one, s.Reuses())
	}

	// The end of the sign-in is one for all.
	if err := creds.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := oauth2.LoadCredentials(t.Context(), nil, store); !errors.Is(err, oauth2.ErrLoginRequired) {
		t.Errorf("after Revoke: %v", err)
	}
}

// Updates of a row exclude each other from the first one on, when there is no row, and after it was erased.
func TestUpdates(t *testing.T) {
	store := &sqlStore{open(t), "updates"}
	for range 2 {
		if data, err := store.Load(t.Context()); data != nil || err != nil {
			t.Fatalf("nothing stored: %q, %v", data, err)
		}
		var running sync.WaitGroup
		for range 50 {
			running.Go(func() {
				if err := store.Update(t.Context(), func(old []byte) ([]byte, error) {
					if len(old) == 0 && old != nil {
						t.Error("nothing stored: not nil")
					}
					return append(old, '+'), nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		own := errors.New("own")
		err := store.Update(t.Context(), func([]byte) ([]byte, error) { return []byte("bad"), own })
		if !errors.Is(err, own) {
			t.Errorf("a function that fails: %v", err)
		}
		if data, err := store.Load(t.Context()); len(data) != 50 || err != nil {
			t.Errorf("%d updates of 50: %v", len(data), err)
		}
		if err := store.Update(t.Context(), func([]byte) ([]byte, error) { return nil, nil }); err != nil {
			t.Errorf("erasing: %v", err)
		}
	}
}

// The lock of a process that is killed ends with its connection.
func TestKilledWhileUpdating(t *testing.T) {
	store := &sqlStore{open(t), "killed"}
	c, stdout := child(t, job{Do: "hold", Row: store.name})
	if line, err := stdout.ReadString('\n'); line != "held\n" {
		t.Fatal(line, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := store.Update(ctx, func([]byte) ([]byte, error) { return []byte("both"), nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is held: %v", err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	start := time.Now()
	err = store.Update(t.Context(), func([]byte) ([]byte, error) { return []byte("next"), nil })
	if err != nil || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

// TestWorstStoreChild is the main function of a child process of TestWorstStore, and nothing else.
func TestWorstStoreChild(t *testing.T) {
	worstChild(t, func(row string) (func() oauth2.Store, func() error) {
		db, err := sql.Open("pgx", os.Getenv("OAUTH2_INTEROP_POSTGRES"))
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(10) // of the hundred that the server has
		return func() oauth2.Store { return &sqlStore{db, row} }, db.Close
	})
}

// TestWorstStore is TestWorstFleet with a row in place of a file.
func TestWorstStore(t *testing.T) {
	store := &sqlStore{open(t), "worst"}
	runWorstFleet(t, startFleet(t, store, "TestWorstStoreChild"), worstJob{Store: store.name})
}
