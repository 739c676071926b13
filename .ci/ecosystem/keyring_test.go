package ecosystem

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/zalando/go-keyring"

	"example.com/oauth2"
)

// The bus of a session, which starts no service by itself: not a keyring that nobody has unlocked.
const busConf = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=DIR</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

// secretService starts a D-Bus and a GNOME keyring of the test's own.
func secretService(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_DATA_HOME", home)
	t.Setenv("XDG_RUNTIME_DIR", home)
	conf := filepath.Join(home, "bus.conf")
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(busConf, "DIR", home)), 0o600); err != nil {
		t.Fatal(err)
	}
	bus := exec.Command("dbus-daemon", "--config-file="+conf, "--nofork", "--nopidfile", "--print-address=1")
	bus.Stderr = os.Stderr
	stdout, err := bus.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, bus)
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", strings.TrimSpace(address))
	daemon := exec.Command("gnome-keyring-daemon", "--foreground", "--components=secrets", "--unlock")
	daemon.Stdin = strings.NewReader("password") // without an end of line
	start(t, daemon)
	eventually(t, "the keyring", func() error {
		_, err := keyring.Get("app", "nobody")
		if errors.Is(err, keyring.ErrNotFound) {
			return nil
		}
		return err
	})
}

func newKeyringStore(lock string) *keyringStore {
	return &keyringStore{"app", "ada@example.com", oauth2.FileStore(lock)}
}

// TestKeyringChild is the main function of a child process, and nothing else.
func TestKeyringChild(t *testing.T) {
	lock := os.Getenv("OAUTH2_ECOSYSTEM_LOCK")
	if lock == "" {
		return
	}
	creds, err := oauth2.LoadCredentials(t.Context(), nil, newKeyringStore(lock))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for range 5 {
		running.Go(func() {
			if tok, err := creds.Token(t.Context()); err != nil || !tok.Valid() {
				t.Error(err)
			}
		})
	}
	running.Wait()
}

// Four processes share a sign-in that is in the keyring: one refreshes, the others take over what it has stored.
func TestKeyring(t *testing.T) {
	secretService(t)
	i := newIssuer(t)
	lock := filepath.Join(t.TempDir(), "app", "lock")
	store := newKeyringStore(lock)
	if _, err := oauth2.LoadCredentials(t.Context(), nil, store); !errors.Is(err, oauth2.ErrLoginRequired) {
		t.Errorf("nothing stored: %v", err)
	}
	creds := i.credentials()
	if err := creds.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			child := exec.Command(os.Args[0], "-test.run=^TestKeyringChild$", "-test.count=1")
			child.Env = append(os.Environ(), "OAUTH2_ECOSYSTEM_LOCK="+lock)
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	running.Wait()
	if tok, err := creds.Token(t.Context()); err != nil || !i.accepts("Bearer "+tok.AccessToken.Reveal()) {
		t.Errorf("after the others: %v", err)
	}
	i.wantOnce(t, 1)

	// 100 updates of two stores, none lost.
	other := newKeyringStore(lock)
	other.user, store.user = "updates", "updates"
	add := func(s *keyringStore) {
		err := s.Update(t.Context(), func(old []byte) ([]byte, error) { return append(old, '+'), nil })
		if err != nil {
			t.Error(err)
		}
	}
	for range 50 {
		running.Go(func() { add(store) })
		running.Go(func() { add(other) })
	}
	running.Wait()
	if data, err := store.Load(t.Context()); len(data) != 100 || err != nil {
		t.Errorf("%d updates of 100: %v", len(data), err)
	}
	own := errors.New("own")
	if err := store.Update(t.Context(), func([]byte) ([]byte, error) { return nil, own }); !errors.Is(err, own) {
		t.Errorf("a function that fails: %v", err)
	}
	if err := store.Update(t.Context(), func([]byte) ([]byte, error) { return nil, nil }); err != nil {
		t.Errorf("erasing: %v", err)
	}
	if data, err := store.Load(t.Context()); data != nil || err != nil {
		t.Errorf("erased: %q, %v", data, err)
	}
	// The file of the lock never has anything in it.
	if files, err := os.ReadDir(filepath.Dir(lock)); len(files) != 0 || err != nil {
		t.Errorf("beside the lock: %v, %v", files, err)
	}
}
