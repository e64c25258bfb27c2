package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/labiium/chat2response/store"
)

var ctx = context.Background()

func want(t testing.TB, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) || (sentinel == nil && err != nil) {
		t.Fatalf("got error %v; want %v", err, sentinel)
	}
}

// filled makes a bbolt store with n values, closes it and returns its path.
func filled(t testing.TB, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data", "keys.db")
	s, err := provision(t, &store.Bbolt{Path: path}).Open(ctx)
	want(t, err, nil)
	for i := range n {
		want(t, s.Swap(ctx, store.Change{Space: "keys", ID: fmt.Sprintf("id%05d", i), New: bytes.Repeat([]byte("v"), 400), Score: int64(i)}), nil)
	}
	want(t, s.Close(), nil)
	return path
}

// A damaged file is an error that names it and says what to do; the process lives and the file stays as it was.
func TestBboltDamage(t *testing.T) {
	page := os.Getpagesize()
	for _, test := range []struct {
		name   string
		damage func(file []byte) []byte
		why    string
	}{
		{"empty", func(b []byte) []byte { return nil }, "0 bytes"},
		{"cut in the middle of what is used", func(b []byte) []byte { return b[:50*400] }, "cut off"},
		{"cut within the second meta page", func(b []byte) []byte { return b[:page+20] }, "meta page"},
		{"cut within the first", func(b []byte) []byte { return b[:40] }, "meta page"},
		{"first meta page zeroed", func(b []byte) []byte { clear(b[:page]); return b }, "one of the two meta pages"},
		{"second meta page zeroed", func(b []byte) []byte { clear(b[page : 2*page]); return b }, "one of the two meta pages"},
		{"half of a meta page zeroed", func(b []byte) []byte { clear(b[page+48 : 2*page]); return b }, "one of the two meta pages"},
		{"both meta pages zeroed", func(b []byte) []byte { clear(b[:2*page]); return b }, "neither of the two"},
		{"text", func(b []byte) []byte { return []byte("SQLite format 3\x00" + strings.Repeat("x", 100)) }, "neither of the two"},
		{"one bit of a meta page", func(b []byte) []byte { b[16+40] ^= 1; return b }, "checksum"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filled(t, 200)
			whole, err := os.ReadFile(path)
			want(t, err, nil)
			damaged := test.damage(bytes.Clone(whole))
			want(t, os.WriteFile(path, damaged, 0o600), nil)
			for range 2 { // the second attempt finds no lock left behind
				_, err := provision(t, &store.Bbolt{Path: path}).Open(ctx)
				want(t, err, store.ErrCorrupt)
				if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), test.why) || !strings.Contains(err.Error(), "bbolt check") {
					t.Fatalf("message: %v; want %q in it", err, test.why)
				}
			}
			after, err := os.ReadFile(path)
			want(t, err, nil)
			if !bytes.Equal(after, damaged) {
				t.Fatal("the damaged file was changed")
			}
			// Put back what was there, and it works in this very process.
			want(t, os.WriteFile(path, whole, 0o600), nil)
			s := open(t, provision(t, &store.Bbolt{Path: path}))
			page, err := s.List(ctx, "keys", store.Page{Limit: 1000})
			want(t, err, nil)
			if len(page) != 200 {
				t.Fatalf("%d of 200 values after the repair", len(page))
			}
		})
	}
}

// Pages that are damaged behind intact meta pages: whatever is read of them, the process lives.
func TestBboltDamagedPages(t *testing.T) {
	page := os.Getpagesize()
	for _, fill := range []byte{0x00, 0xff, 0x41} {
		path := filled(t, 300)
		b, err := os.ReadFile(path)
		want(t, err, nil)
		for i := 2 * page; i < len(b); i++ {
			b[i] = fill
		}
		want(t, os.WriteFile(path, b, 0o600), nil)
		s, err := provision(t, &store.Bbolt{Path: path}).Open(ctx)
		if err == nil {
			_, err = s.List(ctx, "keys", store.Page{})
			_ = s.Close()
		}
		want(t, err, store.ErrCorrupt)
	}
}

// The file is truncated while it is in use: SIGBUS in the memory map, which ends a process that has not taken care.
func TestBboltTruncatedWhileOpen(t *testing.T) {
	path := filled(t, 2000)
	s := open(t, provision(t, &store.Bbolt{Path: path}))
	_, err := s.Get(ctx, "keys", "id00001")
	want(t, err, nil)
	want(t, os.Truncate(path, int64(2*os.Getpagesize())), nil)
	failed := false
	for i := range 2000 {
		if _, err := s.Get(ctx, "keys", fmt.Sprintf("id%05d", i)); err != nil {
			want(t, err, store.ErrCorrupt)
			failed = true
		}
	}
	if !failed {
		t.Fatal("no read of a truncated file failed")
	}
	want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "new", New: []byte("v")}), store.ErrCorrupt)
	want(t, s.Ping(ctx), store.ErrCorrupt)
	want(t, s.Close(), nil)
}

func TestBboltRefuses(t *testing.T) {
	dir := t.TempDir()
	sled := filepath.Join(dir, "keys.db")
	want(t, os.MkdirAll(filepath.Join(sled, "blobs"), 0o700), nil)
	for _, name := range []string{"conf", "db", "snap.0000000000000ABC"} {
		want(t, os.WriteFile(filepath.Join(sled, name), []byte("x"), 0o600), nil)
	}
	folder := filepath.Join(dir, "folder")
	want(t, os.Mkdir(folder, 0o700), nil)
	others := filepath.Join(dir, "others.db")
	db, err := bbolt.Open(others, 0o600, nil)
	want(t, err, nil)
	want(t, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }), nil)
	want(t, db.Close(), nil)
	for path, why := range map[string]string{
		sled:   "sled database of the Rust chat2response",
		folder: "is a folder",
		others: "not one of chat2response",
	} {
		_, err := provision(t, &store.Bbolt{Path: path}).Open(ctx)
		if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want %q", path, err, why)
		}
	}
}

func TestBboltFiles(t *testing.T) {
	path := filled(t, 1)
	for name, mode := range map[string]os.FileMode{path: 0o600, path + ".revoked": 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(name)
		want(t, err, nil)
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o; want %o", name, info.Mode().Perm(), mode)
		}
	}
	left, _ := filepath.Glob(path + ".new*")
	if len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// Two spellings of a path are one store, which is closed when the last of its holders has closed it.
func TestBboltIsShared(t *testing.T) {
	path := filled(t, 1)
	link := filepath.Join(t.TempDir(), "link.db")
	want(t, os.Symlink(path, link), nil)
	relative, err := filepath.Rel(mustGetwd(t), path)
	want(t, err, nil)
	var shares []store.Store
	for _, p := range []string{path, link, relative} {
		shares = append(shares, open(t, provision(t, &store.Bbolt{Path: p})))
	}
	want(t, shares[0].Swap(ctx, store.Change{Space: "t", ID: "a", New: []byte("v")}), nil)
	for _, s := range shares {
		_, err := s.Get(ctx, "t", "a")
		want(t, err, nil)
	}
	want(t, shares[0].Close(), nil)
	want(t, shares[0].Close(), nil) // must not take away the others' share
	want(t, shares[0].Close(), nil)
	_, err = shares[1].Get(ctx, "t", "a")
	want(t, err, nil)
	want(t, shares[1].Close(), nil)
	want(t, shares[2].Close(), nil)
	_, err = shares[2].Get(ctx, "t", "a")
	want(t, err, store.ErrClosed)
}

func mustGetwd(t testing.TB) string {
	dir, err := os.Getwd()
	want(t, err, nil)
	return dir
}

// Another process that has the file: an error after a second that names the file. Provisioning, which is all that
// `caddy validate` does, notices nothing.
func TestBboltSecondProcess(t *testing.T) {
	path := filled(t, 1)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"=hold", "CHILD_PATH="+path)
	in, err := child.StdinPipe()
	want(t, err, nil)
	out, err := child.StdoutPipe()
	want(t, err, nil)
	want(t, child.Start(), nil)
	defer func() { _ = child.Wait() }()
	defer in.Close()
	_, err = out.Read(make([]byte, 10)) // it has the file
	want(t, err, nil)

	m := provision(t, &store.Bbolt{Path: path})
	begun := time.Now()
	_, err = m.Open(ctx)
	took := time.Since(begun)
	want(t, err, store.ErrUnavailable)
	if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "in use by another process") || took > 2*time.Second {
		t.Fatalf("after %s: %v", took, err)
	}
	want(t, in.Close(), nil)
	_, _ = io.Copy(io.Discard, out)
	want(t, child.Wait(), nil)
	open(t, m)
}

const childEnv = "CHAT2RESPONSE_STORE_CHILD"

// runChild is what this test binary does when it is started as somebody else.
func runChild(what string) {
	m := &store.Bbolt{Path: os.Getenv("CHILD_PATH")}
	s, err := m.Open(ctx)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	if what == "hold" {
		fmt.Println("open")
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	_ = s.Close()
}

// A backup that is put back does not bring back what was finally changed since.
func TestBboltRestoredBackup(t *testing.T) {
	path := filled(t, 0)
	m := provision(t, &store.Bbolt{Path: path})
	s, err := m.Open(ctx)
	want(t, err, nil)
	change := func(id, old, new string, final bool) {
		t.Helper()
		c := store.Change{Space: "keys", ID: id, Final: final, Score: 5}
		if old != "" {
			c.Old = []byte(old)
		}
		if new != "" {
			c.New = []byte(new)
		}
		want(t, s.Swap(ctx, c), nil)
	}
	change("a", "", "live", false)
	change("b", "", "live", false)
	change("c", "", "live", false)
	change("a", "live", "revoked before the backup", true)
	var backup bytes.Buffer
	_, err = s.(interface {
		Backup(context.Context, io.Writer) (int64, error)
	}).Backup(ctx, &backup)
	want(t, err, nil)
	change("a", "revoked before the backup", "revoked and relabelled", false)
	change("b", "live", "revoked after the backup", true)
	want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "b", Old: []byte("no"), New: []byte("refused"), Final: true}), store.ErrConflict)
	change("c", "live", "relabelled", false)
	change("d", "", "revoked at birth", true)
	check := func(values map[string]string) {
		t.Helper()
		for id, value := range values {
			got, err := s.Get(ctx, "keys", id)
			want(t, err, nil)
			if string(got) != value {
				t.Fatalf("%s is %q; want %q", id, got, value)
			}
		}
	}
	reopen := func() {
		t.Helper()
		want(t, s.Close(), nil)
		s, err = m.Open(ctx)
		want(t, err, nil)
	}
	reopen() // nothing is repeated on a store that has seen everything
	check(map[string]string{"a": "revoked and relabelled", "b": "revoked after the backup", "c": "relabelled"})

	want(t, s.Close(), nil)
	want(t, os.WriteFile(path, backup.Bytes(), 0o600), nil)
	f, err := os.OpenFile(path+".revoked", os.O_APPEND|os.O_WRONLY, 0o600)
	want(t, err, nil)
	_, err = f.WriteString(`{"store":"torn by a cra`)
	want(t, errors.Join(err, f.Close()), nil)
	s, err = m.Open(ctx)
	want(t, err, nil)
	restored := map[string]string{"a": "revoked before the backup", "b": "revoked after the backup", "c": "live", "d": "revoked at birth"}
	check(restored)
	change("c", "live", "revoked last", true)
	reopen()
	restored["c"] = "revoked last"
	check(restored)
	page, err := s.List(ctx, "keys", store.Page{})
	want(t, err, nil)
	if len(page) != 4 || page[3].Score != 5 {
		t.Fatalf("listed %v", page)
	}
	want(t, s.Close(), nil)

	// A line that is damaged in the middle is not passed over.
	b, err := os.ReadFile(path + ".revoked")
	want(t, err, nil)
	want(t, os.WriteFile(path+".revoked", append([]byte("garbage\n"), b...), 0o600), nil)
	_, err = m.Open(ctx)
	want(t, err, store.ErrCorrupt)
}

func BenchmarkBbolt(b *testing.B) {
	s := newBbolt(b)
	for i := range 1000 {
		want(b, s.Swap(ctx, store.Change{Space: "keys", ID: fmt.Sprintf("id%05d", i), New: bytes.Repeat([]byte("v"), 400), Score: int64(i)}), nil)
	}
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_, _ = s.Get(ctx, "keys", fmt.Sprintf("id%05d", i%1000))
		}
	})
	b.Run("list100", func(b *testing.B) {
		for b.Loop() {
			_, _ = s.List(ctx, "keys", store.Page{})
		}
	})
	b.Run("swap", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_ = s.Swap(ctx, store.Change{Space: "new", ID: fmt.Sprint(i), New: []byte("v")})
		}
	})
	b.Run("swap by 64", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				_ = s.Swap(ctx, store.Change{Space: "many", ID: fmt.Sprintf("%p-%d", pb, i), New: []byte("v")})
			}
		})
	})
}
