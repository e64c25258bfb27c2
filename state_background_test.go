package chat2response

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// waitFor asks until the background response has a status.
func (g *gateway) waitFor(id, status string) map[string]any {
	g.t.Helper()
	for range 600 {
		a := g.get("/v1/responses/" + id)
		if a.status != 200 {
			g.t.Fatalf("%d %s", a.status, a.body)
		}
		body := object(g.t, []byte(a.body))
		if body["status"] == status {
			return body
		}
		time.Sleep(20 * time.Millisecond)
	}
	g.t.Fatalf("%s was never %s", id, status)
	return nil
}

// A background response is made while nobody waits, over the loss of its client and
// a reload, and its events are the same for whoever asks.
func TestStateBackground(t *testing.T) {
	onEachStore(t, func(t *testing.T, state string) {
		m, addr := holding(t)
		site := "chat2response " + addr + " {\n mode chat\n" + state + "\n}"
		g := start(t, site)

		queued := object(t, []byte(g.post("/v1/responses", `{"model":"m","input":"slow","background":true}`).body))
		id, _ := queued["id"].(string)
		if queued["status"] != "queued" || queued["background"] != true || queued["store"] != true {
			t.Fatalf("queued: %v", queued)
		}
		if a := g.post("/v1/responses", `{"model":"m","input":"x","previous_response_id":"`+id+`"}`); a.status != 400 {
			t.Errorf("continued while it runs: %d %s", a.status, a.body)
		}
		if a := g.get("/v1/responses/" + id + "?stream=true"); a.status != 400 {
			t.Errorf("events of one without: %d %s", a.status, a.body)
		}

		live := g.stream("/v1/responses", `{"model":"m","input":"slow too","background":true,"stream":true}`)
		first := live.next(t)
		streamed, _ := dig(object(t, []byte(first.data)), "response", "id").(string)
		for e := first; !strings.HasSuffix(e.name, "output_text.delta"); {
			e = live.next(t)
		}
		live.cancel()
		g.load(site + "\nheader X-Other 1")
		resumed := g.stream("/v1/responses", `{"model":"m","input":"a third","background":true,"stream":true}`)
		cancelled, _ := dig(object(t, []byte(resumed.next(t).data)), "response", "id").(string)
		a := g.post("/v1/responses/"+cancelled+"/cancel", "")
		if a.status != 200 || object(t, []byte(a.body))["status"] != "cancelled" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if rest := resumed.rest(t); rest[len(rest)-1].data != "[DONE]" || count(kinds(rest), "response.completed") != 0 {
			t.Errorf("a cancelled stream ended with %v", kinds(rest))
		}
		again := g.post("/v1/responses/"+cancelled+"/cancel", "")
		if again.body != a.body {
			t.Errorf("cancelled twice: %s", again.body)
		}
		m.release()

		done := g.waitFor(id, "completed")
		if got := dig(done, "output", 0, "content", 0, "text"); got != "answer 1 to slow" || done["created_at"] != queued["created_at"] {
			t.Errorf("%v", done)
		}
		g.waitFor(streamed, "completed")
		all := g.get("/v1/responses/" + streamed + "?stream=true")
		events := all.events()
		if text(events) != "answer 1 to slow too" || count(kinds(events), "response.completed") != 1 || events[0].data != first.data {
			t.Errorf("%s", all.body)
		}
		for i, e := range events[:len(events)-1] {
			if n := object(t, []byte(e.data))["sequence_number"]; n != float64(i) {
				t.Errorf("event %d has number %v", i, n)
			}
		}
		rest := g.get("/v1/responses/" + streamed + "?stream=true&starting_after=3").events()
		if len(rest) != len(events)-4 || rest[0].data != events[4].data {
			t.Errorf("%d of %d events after 3", len(rest), len(events))
		}
		next := g.post("/v1/responses", `{"model":"m","input":"next","previous_response_id":"`+streamed+`"}`)
		if got, want := m.last(t), "user: slow too\nassistant: answer 1 to slow too\nuser: next\n"; next.status != 200 || got != want {
			t.Errorf("%d, asked\n%s", next.status, got)
		}
		if a := g.post("/v1/responses/"+object(t, []byte(next.body))["id"].(string)+"/cancel", ""); a.status != 400 || a.openAIError(t).Message != "Cannot cancel a synchronous response." {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := g.post("/v1/responses", `{"model":"m","input":"x","background":true,"store":false}`); a.status != 400 || a.openAIError(t).param() != "background" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// What an upstream refuses is how a background response fails.
func TestStateBackgroundFails(t *testing.T) {
	for name, addr := range map[string]string{
		"refused": upstream(t, func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, `{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}`, 404)
		}),
		"down": deadAddr(t),
		"cut": upstream(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half\"}}]}\n\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}),
	} {
		for _, stream := range []string{"false", "true"} {
			t.Run(name+" "+stream, func(t *testing.T) {
				g := start(t, "chat2response "+addr+" {\n mode chat\n}")
				a := g.post("/v1/responses", `{"model":"m","input":"x","background":true,"stream":`+stream+`}`)
				id := ""
				if stream == "true" {
					events := a.events()
					if kinds(events)[len(events)-2] != "response.failed" {
						t.Fatalf("%s", a.body)
					}
					id = dig(object(t, []byte(events[0].data)), "response", "id").(string)
				} else {
					id = object(t, []byte(a.body))["id"].(string)
				}
				failed := g.waitFor(id, "failed")
				if dig(failed, "error", "code") == nil || dig(failed, "error", "message") == "" {
					t.Errorf("%v", failed)
				}
				if a := g.post("/v1/responses", `{"model":"m","input":"x","previous_response_id":"`+id+`"}`); a.status != 400 {
					t.Errorf("a failed response was continued: %d %s", a.status, a.body)
				}
			})
		}
	}
}

// A gateway that is told to stop fails what it does in the background at once: whoever
// asks the next one need not wait for the lease to run out.
func TestStateBackgroundTerm(t *testing.T) {
	m, addr := holding(t)
	t.Cleanup(m.release)
	site := "chat2response " + addr + " {\n mode chat\n state bbolt " + filepath.Join(t.TempDir(), "state.db") + "\n}"
	g, child := startChild(t, site)
	polled, _ := object(t, []byte(g.post("/v1/responses", `{"model":"m","input":"slow","background":true}`).body))["id"].(string)
	events := g.stream("/v1/responses", `{"model":"m","input":"slow","background":true,"stream":true}`)
	defer events.cancel()
	streamed, _ := dig(object(t, []byte(events.next(t).data)), "response", "id").(string)
	ids := []string{polled, streamed}
	for _, id := range ids {
		g.waitFor(id, "in_progress")
	}
	child.Process.Signal(syscall.SIGTERM)
	told := time.Now()
	if err := child.Wait(); err != nil {
		t.Errorf("the process ended with %v", err)
	}
	t.Logf("ended after %v", time.Since(told))
	next := start(t, site)
	for _, id := range ids {
		body := object(t, []byte(next.get("/v1/responses/"+id).body))
		if body["status"] != "failed" || dig(body, "error", "code") == nil {
			t.Errorf("%s is %v: %v", id, body["status"], body["error"])
		}
	}
}
