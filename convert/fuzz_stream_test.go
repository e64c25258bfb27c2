package convert

import (
	"strings"
	"testing"
	"time"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/sse"
)

// slowest is how long any input may take. The machine may be busy with the other
// workers, so an input that took longer gets another try.
const slowest = time.Second

func fuzzStream(f *testing.F, upstream API) {
	for _, dialect := range fakeopenai.Dialects() {
		for _, scenario := range fakeopenai.Scenarios() {
			stream := fakeopenai.Stream(fakeopenai.API(upstream), dialect, scenario)
			if len(stream) > 0 && len(stream) < 10_000 && (dialect == "openai" || scenario == "tools" || scenario == "reasoning" || scenario == "midstream") {
				f.Add(stream, uint8(len(f.Name())))
			}
		}
	}
	for _, s := range []string{"", "data: [DONE]\n\n", "data: {\"error\":{}}\n\n", "event: error\ndata: x\n\n", "data: []\n\n", "data: {\"type\":\"response.completed\"}\n\n"} {
		f.Add([]byte(s), uint8(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, kind uint8) {
		for _, client := range bothAPIs {
			r := fuzzRoute(t, upstream, client, kind)
			cause := []*Error{nil, connectionLost}[kind&1]
			var out []byte
			var took time.Duration
			for range 3 {
				begun := time.Now()
				x := r.start()
				x.feed(in)
				out = x.end(cause)
				if len(x.out.faults) > 0 {
					t.Errorf("%s: %v", client, x.out.faults)
				}
				if took = time.Since(begun); took < slowest {
					break
				}
			}
			if took > slowest {
				t.Errorf("%s: %d bytes took %v", client, len(in), took)
			}
			if _, faults := r.check(out); len(faults) > 0 {
				t.Errorf("%s: %s\n%s", client, strings.Join(faults, "\n"), out)
			}
		}
	})
}

// fuzzRoute is one of several kinds of clients.
func fuzzRoute(t *testing.T, upstream, client API, kind uint8) *testRoute {
	body := `{"model":"m","input":"x","stream":true,"include":["message.output_text.logprobs"],"tools":[{"type":"function","name":"get_weather","parameters":{"type":"object","properties":{}}},{"type":"custom","name":"apply_patch"},{"type":"tool_search","execution":"client"},{"type":"shell"}]}`
	in := Responses
	if upstream == Responses && kind&2 != 0 { // with stop sequences, which only a Chat client has
		in, body = Chat, `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"stop":["el","help you"]}`
	}
	req, err := Read(in, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	r := &testRoute{upstream: upstream, client: client, dialect: "fuzz", req: req}
	o := Options{NewID: r.newID, Now: func() time.Time { return time.Unix(1, 0) }}
	switch kind & 12 {
	case 4:
		o.Reasoning = ReasoningText
	case 8:
		o.Reasoning = ReasoningOff
	case 12:
		o.Model = "upstream"
	}
	if r.turn, err = req.To(upstream, o); err != nil {
		t.Fatal(err)
	}
	req.Out, r.noUsage = client, true
	return r
}

// FuzzChatStream: whatever a Chat upstream sends, both clients get a stream of
// their API with exactly one end.
func FuzzChatStream(f *testing.F) { fuzzStream(f, Chat) }

// FuzzResponsesStream is the same of a Responses upstream.
func FuzzResponsesStream(f *testing.F) { fuzzStream(f, Responses) }

// FuzzAnswer: whatever an upstream answers in one piece is an error or an answer
// of which both clients understand both forms.
func FuzzAnswer(f *testing.F) {
	for _, upstream := range bothAPIs {
		for _, dialect := range []string{"openai", "mistral", "ollama", "openrouter"} {
			for _, scenario := range fakeopenai.Scenarios() {
				body, _ := fakeopenai.Answer(fakeopenai.API(upstream), dialect, scenario)
				if len(body) < 10_000 {
					f.Add(body, upstream == Chat, uint8(len(dialect)))
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, fromChat bool, kind uint8) {
		upstream := Responses
		if fromChat {
			upstream = Chat
		}
		for _, client := range bothAPIs {
			r := fuzzRoute(t, upstream, client, kind)
			begun := time.Now()
			resp, err := r.turn.Answer(body)
			if err != nil {
				e, ok := err.(*Error)
				if !ok || e.Status < 400 || e.Status > 599 || e.Message == "" || e.Type == "" {
					t.Errorf("%s: the error is %#v", client, err)
				}
				continue
			}
			if resp.Status != responses.Completed && resp.Status != responses.Incomplete {
				t.Errorf("an answer with the status %q", resp.Status)
			}
			written, err := r.req.Write(resp)
			var out writes
			sender := sse.NewWriter(&out, nil)
			if e := Replay(resp, r.req.Writer(sender)); e != nil {
				t.Errorf("%s: %v", client, e)
			}
			sender.Send()
			if took := time.Since(begun); took > 5*slowest {
				t.Errorf("%s: %d bytes took %v", client, len(body), took)
			}
			if _, faults := r.check(out.Bytes()); len(faults) > 0 {
				t.Errorf("%s, replayed: %s\n%s", client, strings.Join(faults, "\n"), out.Bytes())
			}
			if err != nil {
				if _, ok := err.(*Error); !ok {
					t.Errorf("%s: %v", client, err)
				}
				continue
			}
			got, want := meaning(t, client, written), streamMeaning(client, out.Bytes())
			if resp.Usage == nil && compact(got) != compact(want) { // the stream would need to be asked for it
				t.Errorf("%s: the answer says\n%s\nits replay\n%s", client, show(got), show(want))
			}
		}
	})
}

// FuzzReadError: whatever the body of an error is, it becomes an error of
// OpenAI's.
func FuzzReadError(f *testing.F) {
	for _, dialect := range fakeopenai.Dialects() {
		for _, scenario := range []string{"error400", "error401", "error404", "error429", "error500", "error503", "errorfilter"} {
			body, status := fakeopenai.Answer(fakeopenai.Chat, dialect, scenario)
			f.Add(status, body)
		}
	}
	for _, s := range []string{"", "null", `"a"`, "7", "[]", `[[]]`, `{"error":[]}`, `{"detail":[{"msg":"a"}]}`, `{"ERROR":"a","Message":{}}`, "<html>"} {
		f.Add(500, []byte(s))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		status = 400 + (status%200+200)%200
		begun := time.Now()
		e := ReadError(status, body)
		if e.Status != status || e.Message == "" || e.Type == "" {
			t.Errorf("%+v", e)
		}
		for _, stream := range bothAPIs {
			var out writes
			sender := sse.NewWriter(&out, nil)
			write := (&responsesWriter{w: sender}).Event
			if stream == Chat {
				write = newChatWriter(sender, chatFace{}).Event
			}
			resp := &responses.Response{ID: "resp_1", Object: "response", CreatedAt: 1, Model: "m", Status: responses.Failed, Error: responseError(e), ServiceTier: "default", Echo: echo(&responses.Request{Model: "m"}, &generic, false)}
			if err := Replay(resp, write); err != nil {
				t.Error(err)
			}
			sender.Send()
			r := testRoute{client: stream, noUsage: true}
			if whole, faults := r.check(out.Bytes()); whole || len(faults) > 0 {
				t.Errorf("%s: %s\n%s", stream, strings.Join(faults, "\n"), out.Bytes())
			}
		}
		if took := time.Since(begun); took > 5*slowest {
			t.Errorf("%d bytes took %v", len(body), took)
		}
	})
}
