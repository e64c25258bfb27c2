package convert

import (
	"bytes"
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// Sealed reasoning that a Chat client is given is numbered, in streams and in whole
// answers: the official clients cannot put together a list without.
func TestSealedReasoningIsNumbered(t *testing.T) {
	req, err := Read(Chat, []byte(`{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := sse.NewWriter(&out, func() error { return nil })
	emit := req.Writer(w)
	resp := &responses.Response{ID: "resp_1", Status: responses.InProgress, Model: "m"}
	events := []*responses.Event{{Type: responses.EventCreated, Response: resp}}
	for _, id := range []string{"rs_1", "rs_2"} {
		item := responses.Item{Type: "reasoning", ID: id, EncryptedContent: "sealed"}
		resp.Output = append(resp.Output, item)
		events = append(events, &responses.Event{Type: responses.EventItemDone, Item: &item})
	}
	for _, e := range events {
		if err := emit(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Send(); err != nil {
		t.Fatal(err)
	}
	resp.Status = responses.Completed
	whole, err := req.Write(resp)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{out.String(), string(whole)} {
		for _, want := range []string{`"id":"rs_1","data":"sealed","index":0}`, `"id":"rs_2","data":"sealed","index":1}`} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in %s", want, got)
			}
		}
	}
}
