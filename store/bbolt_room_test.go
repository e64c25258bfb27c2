package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/labiium/chat2response/store"
)

// smallDisk is a folder on a disk of so many KiB.
func smallDisk(t *testing.T, kib int) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("it needs a tmpfs")
	}
	dir := t.TempDir()
	if err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dk", kib), "tmpfs", dir).Run(); err != nil {
		t.Skip("it may not mount a tmpfs")
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	return dir
}

// M11, A7: the state leaves room for the keys that share its disk: a key can be made and revoked when the state is full,
// and the state itself can remove.
func TestBboltKeepsRoom(t *testing.T) {
	m := provision(t, &store.Bbolt{Path: filepath.Join(smallDisk(t, 1024), "keys.db")})
	keys := open(t, m)
	state := open(t, m).(store.Roomy).KeepFree(512 << 10)
	key := store.Change{Space: "keys", ID: "k", New: []byte("live")}
	want(t, keys.Swap(ctx, key), nil)
	var err error
	n := 0
	for ; err == nil; n++ {
		err = state.SwapMany(ctx, []store.Change{{Space: "state:{a}", ID: fmt.Sprint(n), New: bytes.Repeat([]byte("x"), 8000)}})
	}
	want(t, err, store.ErrFull)
	if n < 10 {
		t.Fatalf("full after %d values", n)
	}
	for i := range 40 {
		want(t, keys.Swap(ctx, store.Change{Space: "keys", ID: fmt.Sprint("new", i), New: bytes.Repeat([]byte("k"), 400)}), nil)
	}
	key.Old, key.New, key.Final = key.New, []byte("revoked"), true
	want(t, keys.Swap(ctx, key), nil)
	want(t, state.Swap(ctx, store.Change{Space: "state:{a}", ID: "small", New: []byte("x")}), store.ErrFull)
	want(t, state.Delete(ctx, "state:{a}", "0"), nil)
	want(t, state.SwapMany(ctx, []store.Change{{Space: "state:{a}", ID: "1", Drop: true}, {Space: "state:{a}", ID: "2", Drop: true}}), nil)
}

// On a disk that is full to the last block a revocation is made if the file has room within itself, and is written into
// the journal when there is room again.
func TestBboltFullDisk(t *testing.T) {
	dir := smallDisk(t, 2048)
	path := filepath.Join(dir, "keys.db")
	m := provision(t, &store.Bbolt{Path: path})
	s, err := m.Open(ctx)
	want(t, err, nil)
	for i := range 20 {
		want(t, s.Swap(ctx, store.Change{Space: "keys", ID: fmt.Sprint("k", i), New: []byte("live")}), nil)
		want(t, s.Swap(ctx, store.Change{Space: "state", ID: fmt.Sprint(i), New: bytes.Repeat([]byte("x"), 20_000)}), nil)
	}
	for i := range 20 {
		want(t, s.Delete(ctx, "state", fmt.Sprint(i)), nil)
	}
	backup, err := os.ReadFile(path)
	want(t, err, nil)
	filler, err := os.Create(filepath.Join(dir, "filler"))
	want(t, err, nil)
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = filler.Write(make([]byte, size))
		}
	}
	revoke := func(id string) error {
		return s.Swap(ctx, store.Change{Space: "keys", ID: id, Old: []byte("live"), New: []byte("gone"), Final: true})
	}
	want(t, revoke("k1"), nil)
	want(t, errors.Join(filler.Close(), os.Remove(filler.Name())), nil)
	want(t, revoke("k2"), nil)
	want(t, s.Close(), nil)
	want(t, os.WriteFile(path, backup, 0o600), nil)
	s = open(t, m)
	for id, value := range map[string]string{"k1": "gone", "k2": "gone", "k3": "live"} {
		got, err := s.Get(ctx, "keys", id)
		want(t, err, nil)
		if string(got) != value {
			t.Errorf("%s is %s in the restored backup; want %s", id, got, value)
		}
	}
}

// A file that is mostly empty is compacted when it is opened, and everything is still in it.
func TestBboltCompact(t *testing.T) {
	defer store.CompactAt(1 << 20)()
	path := filled(t, 50)
	m := provision(t, &store.Bbolt{Path: path})
	s, err := m.Open(ctx)
	want(t, err, nil)
	big := store.Change{Space: "t", ID: "big", New: make([]byte, 8<<20)}
	want(t, s.Swap(ctx, big), nil)
	want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "id00001", Old: bytes.Repeat([]byte("v"), 400), New: []byte("revoked"), Final: true}), nil)
	want(t, s.Delete(ctx, "t", "big"), nil)
	want(t, s.Swap(ctx, store.Change{Space: "t", ID: "last", New: []byte("v")}), nil)
	want(t, s.Close(), nil)
	before, err := os.Stat(path)
	want(t, err, nil)
	s = open(t, m)
	after, err := os.Stat(path)
	want(t, err, nil)
	if after.Size() > before.Size()/4 || after.Mode().Perm() != 0o600 {
		t.Fatalf("%d bytes, before %d; mode %o", after.Size(), before.Size(), after.Mode().Perm())
	}
	page, err := s.List(ctx, "keys", store.Page{Limit: 1000})
	want(t, err, nil)
	if len(page) != 50 || string(page[1].Value) != "revoked" {
		t.Fatalf("%d values; the second is %.20q", len(page), page[1].Value)
	}
	want(t, s.Swap(ctx, store.Change{Space: "t", ID: "new", New: []byte("v")}), nil)
	left, _ := filepath.Glob(path + ".compact*")
	if len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func equal[T comparable](t testing.TB, got, wanted T) {
	t.Helper()
	if got != wanted {
		t.Fatalf("got %v; want %v", got, wanted)
	}
}

// In every mode a revocation is in the journal, on the disk, before it is acknowledged; what is written otherwise is
// there for everybody at once, and after the process.
func TestBboltSync(t *testing.T) {
	for _, mode := range []string{store.SyncAlways, store.SyncInterval, store.SyncNever} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keys.db")
			m := provision(t, &store.Bbolt{Path: path, Sync: mode})
			s, err := m.Open(ctx)
			want(t, err, nil)
			other := open(t, provision(t, &store.Bbolt{Path: path})) // the same file, in another mode
			for i := range 50 {
				want(t, s.Swap(ctx, store.Change{Space: "t", ID: fmt.Sprint(i), New: []byte("v")}), nil)
				_, err := other.Get(ctx, "t", fmt.Sprint(i))
				want(t, err, nil)
			}
			want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "k", New: []byte("revoked at birth"), Final: true}), nil)
			if store.Unsynced(s) {
				t.Error("a revocation was acknowledged before it was on the disk")
			}
			want(t, s.Swap(ctx, store.Change{Space: "t", ID: "later", New: []byte("v")}), nil)
			switch mode {
			case store.SyncAlways:
				equal(t, store.Unsynced(s), false)
			case store.SyncNever:
				equal(t, store.Unsynced(s), true)
				want(t, other.Swap(ctx, store.Change{Space: "t", ID: "other", New: []byte("v")}), nil) // always, and all before it
				equal(t, store.Unsynced(s), false)
			default:
				for store.Unsynced(s) { // within an hour for all that this test knows
					time.Sleep(time.Millisecond)
				}
			}
			journal, err := os.ReadFile(path + ".revoked")
			want(t, err, nil)
			if bytes.Count(journal, []byte("\n")) != 1 {
				t.Fatalf("the journal is %s", journal)
			}
			want(t, s.Close(), nil)
			want(t, other.Close(), nil)
			s = open(t, m)
			_, err = s.Get(ctx, "t", "49")
			want(t, err, nil)
		})
	}
	for _, bad := range []store.Bbolt{{Sync: "sometimes"}, {SyncInterval: 1}, {Sync: store.SyncInterval, SyncInterval: 1}, {Sync: store.SyncNever, SyncInterval: 1e9}} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}
