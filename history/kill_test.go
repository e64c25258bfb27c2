package history_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
)

const killLease = 600 * time.Millisecond

// runChild writes history to the bbolt file that the environment names, and prints each act after it was acknowledged,
// until it is killed.
func runChild(path string) {
	s, err := (&store.Bbolt{Path: path}).Open(ctx)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	h, err := history.New(s, history.Config{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	h.Hasten(killLease, poll, flush, keepFor)
	a := h.Tenant("a")
	tell := func(what, id string, n int, err error) {
		if err != nil {
			_, _ = os.Stdout.WriteString("error " + err.Error() + "\n")
			os.Exit(1)
		}
		_, _ = fmt.Fprintf(os.Stdout, "%s %s %d\n", what, id, n) // in one write, so the reader has it whole or not at all
	}
	go func() {
		for last, turns := "", 1; ; turns++ {
			last, err = tryTurn(a, last, n("q", turns), n("a", turns))
			tell("chain", last, turns, err)
		}
	}()
	go func() {
		id := history.NewID("chat-")
		for turns := 1; ; turns++ {
			thread, err := a.NamedThread(ctx, id)
			if err == nil {
				_, err = said(a, thread, n("q", turns), n("a", turns))
			}
			tell("thread", id, turns, err)
		}
	}()
	go func() {
		for {
			id := history.NewID("resp_")
			j, err := a.Start(ctx, history.Turn{Response: response(id, responses.InProgress), Input: []responses.Item{user("", "q")}}, true)
			tell("started", id, 0, err)
			for i := range 5 {
				err = j.Log(ctx, event(i))
				time.Sleep(flush)
			}
			if err == nil {
				err = j.Finish(ctx, response(id, responses.Completed, answer("", "done")), event(5))
			}
			if errors.Is(err, history.ErrLost) {
				continue // this process was held up for longer than its lease
			}
			tell("finished", id, 0, err)
			if err = a.DeleteResponse(ctx, id); rand.IntN(2) == 0 {
				continue
			}
			tell("deleted", id, 0, err)
		}
	}()
	select {}
}

// The process is killed again and again while it saves turns, appends to a conversation and runs background responses:
// what was acknowledged is there, whole; what was not is not there, or not completed, or whole.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 10
	if testing.Short() {
		kills = 3
	}
	path := filepath.Join(t.TempDir(), "state.db")
	acts := 0
	for range kills {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childEnv+"="+path)
		out, err := child.StdoutPipe()
		want(t, err, nil)
		want(t, child.Start(), nil)
		lines := bufio.NewScanner(out)
		type act struct {
			what string
			n    int
		}
		last := map[string]act{}
		var timer *time.Timer
		for lines.Scan() {
			if timer == nil {
				timer = time.AfterFunc(time.Duration(50+rand.IntN(250))*time.Millisecond, func() { _ = child.Process.Kill() })
			}
			f := strings.Fields(lines.Text())
			if len(f) != 3 || f[0] == "error" {
				t.Fatalf("the child said %q", lines.Text())
			}
			acts++
			number, err := strconv.Atoi(f[2])
			want(t, err, nil)
			last[f[1]] = act{f[0], number}
		}
		_ = child.Wait()
		if timer == nil {
			t.Fatal("the child did nothing")
		}
		s, err := (&store.Bbolt{Path: path}).Open(ctx)
		want(t, err, nil)
		h := quick(newHistory(t, s, history.Config{}))
		a := h.Tenant("a")
		begun := time.Now()
		for id, did := range last {
			switch did.what {
			case "chain":
				chain, err := a.Chain(ctx, id)
				want(t, err, nil)
				equal(t, len(strings.Fields(once(t, chain.Items))), 2*did.n)
				for _, i := range chain.Items[2*did.n-2:] {
					_, err := a.Items(ctx, i.ID)
					want(t, err, nil)
				}
			case "thread":
				thread, err := a.Thread(ctx, id)
				want(t, err, nil)
				items := len(strings.Fields(once(t, thread.Items)))
				if items != 2*did.n && items != 2*did.n+2 { // the next one was made, and not acknowledged any more
					t.Fatalf("%d items after %d turns", items, did.n)
				}
			case "started":
				r, err := a.Response(ctx, id)
				for ; err == nil && r.Status == responses.InProgress; r, err = a.Response(ctx, id) {
					if time.Since(begun) > patience {
						t.Fatal("it is still in progress, with nobody to work on it")
					}
					time.Sleep(killLease / 10)
				}
				if errors.Is(err, history.ErrNotFound) {
					continue // its next act was to delete it
				}
				want(t, err, nil)
				if r.Status == responses.Completed {
					equal(t, texts(r.Output), "done")
					continue
				}
				equal(t, r.Status, responses.Failed)
				if last := read(t, a, id, -1, nil); !strings.Contains(string(last[len(last)-1].Data), "response.failed") {
					t.Fatalf("the last event is %s", last[len(last)-1].Data)
				}
			case "finished": // perhaps deleted by now
				r, err := a.Response(ctx, id)
				if !errors.Is(err, history.ErrNotFound) {
					want(t, err, nil)
					equal(t, r.Status, responses.Completed)
				}
			case "deleted":
				_, err := a.Response(ctx, id)
				want(t, err, history.ErrNotFound)
			}
		}
		page, err := s.List(ctx, a.Space(""), store.Page{Limit: store.MaxPage})
		want(t, err, nil)
		listed, _, _, err := a.Audit(ctx)
		want(t, err, nil)
		if len(page) < store.MaxPage && int64(len(page)) > listed {
			t.Fatalf("%d responses are there and %d records on the account", len(page), listed)
		}
		want(t, s.Close(), nil)
	}
	t.Logf("%d kills, %d acknowledged acts, none lost", kills, acts)
}
