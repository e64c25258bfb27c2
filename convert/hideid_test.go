package convert

import (
	"bytes"
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// M7: where the ids of a Responses upstream are not for clients, a Chat client is told another, the same in all of an
// answer, whole or streamed; what the upstream's own response is called stays known to the caller.
func TestHiddenID(t *testing.T) {
	for _, hide := range []bool{false, true} {
		req, err := Read(Chat, []byte(`{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}`))
		if err != nil {
			t.Fatal(err)
		}
		ids := 0
		o := Options{HideID: hide, NewID: func(prefix string) string { ids++; return prefix + "fresh" + strings.Repeat("x", ids-1) }}
		shown := func(b []byte) (raw, fresh int) {
			return bytes.Count(b, []byte("secret")), bytes.Count(b, []byte(`"id":"chatcmpl-fresh"`))
		}
		var out []byte
		for range 2 { // a gateway's tools ask the upstream again
			turn, err := req.To(Responses, o)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := turn.Answer([]byte(`{"id":"resp_secret","object":"response","status":"completed","model":"m","output":[` + messageItem("m", "a") + `]}`))
			if err != nil || resp.ID != "resp_secret" {
				t.Fatalf("%v %v", resp, err)
			}
			whole, err := req.Write(resp)
			if err != nil {
				t.Fatal(err)
			}
			var stream bytes.Buffer
			w := sse.NewWriter(&stream, nil)
			emit := req.Writer(w)
			if err := Replay(resp, func(e *responses.Event) error { return emit(e) }); err != nil {
				t.Fatal(err)
			}
			w.Send()
			out = append(append(out, whole...), stream.Bytes()...)
		}
		raw, fresh := shown(out)
		if hide && (raw > 0 || fresh < 4 || bytes.Contains(out, []byte("freshx"))) || !hide && (raw < 4 || fresh > 0) {
			t.Errorf("hidden %v: %d raw, %d fresh ids in %s", hide, raw, fresh, out)
		}
	}
	// A Chat upstream has no response that could be asked for.
	req, err := Read(Chat, []byte(`{"model":"m","messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := req.To(Chat, Options{HideID: true}); err != nil || req.chatID != "" {
		t.Errorf("%q, %v", req.chatID, err)
	}
}
