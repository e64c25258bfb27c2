//go:build unix

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The canned answers pass the check, straight from the upstream: what the check
// refuses later is then the gateway's doing.
func TestCheckUpstream(t *testing.T) {
	u, err := newUpstream()
	if err != nil {
		t.Fatal(err)
	}
	defer u.ln.Close()
	for _, of := range []api{chat, responses} {
		for _, a := range asks {
			if a.hold {
				continue
			}
			t.Run(string(of)+"/"+a.name, func(t *testing.T) {
				c, err := dial(u.ln.Addr().String(), time.Now().Add(requestTimeout))
				if err != nil {
					t.Fatal(err)
				}
				defer c.conn.Close()
				got := newAnswer()
				got.keep = true
				want := expected{}
				for range 2 {
					if err := c.do(a.request(of, "upstream", ""), got); err != nil {
						t.Fatal(err)
					}
					if err := checkAnswer(of, a, got); err != nil {
						t.Fatalf("%v in %.3000s", err, got.body)
					}
					if want.length > 0 && want.wrong(got) != "" {
						t.Fatalf("the second answer: %s", want.wrong(got))
					}
					want = expected{got.length, string(got.end)}
				}
			})
		}
	}
}

// What a broken gateway might answer is seen.
func TestCheckRefuses(t *testing.T) {
	a := askNamed("sse50")
	stream := func(of api) string {
		v := voices[of]
		b := v.open()
		for i := range a.events {
			b = v.delta(b, i, token(i))
		}
		return string(append(b, v.tail(a.text(), a.events)...))
	}
	for _, test := range []struct {
		name   string
		of     api
		change func(string) string
	}{
		{"cut", chat, func(s string) string { return s[:len(s)/2] }},
		{"no end", responses, func(s string) string { return s[:strings.LastIndex(s, "event: ")] }},
		{"no [DONE]", chat, func(s string) string { return strings.TrimSuffix(s, "data: [DONE]\n\n") }},
		{"a delta less", chat, func(s string) string { return strings.Replace(s, " quick", "", 1) }},
		{"a delta less", responses, func(s string) string { return strings.Replace(s, `"delta":" quick"`, `"delta":""`, 1) }},
		{"other whole", responses, func(s string) string {
			return strings.Replace(s, "event: response.completed", "", 1)[:strings.Index(s, "event: response.completed")] +
				strings.Replace(s[strings.Index(s, "event: response.completed"):], " quick", "", 1)
		}},
		{"failed", responses, func(s string) string { return strings.ReplaceAll(s, "response.completed", "response.failed") }},
		{"two endings", responses, func(s string) string { return s + s[strings.LastIndex(s, "event: "):] }},
		{"stopped short", chat, func(s string) string { return strings.Replace(s, `"stop"`, `"length"`, 1) }},
		{"no JSON", chat, func(s string) string { return strings.Replace(s, "data: {", "data: ", 1) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			whole := &answer{status: 200, mediaType: "text/event-stream", body: []byte(stream(test.of))}
			if err := checkAnswer(test.of, a, whole); err != nil {
				t.Fatal(err)
			}
			changed := &answer{status: 200, mediaType: "text/event-stream", body: []byte(test.change(stream(test.of)))}
			if checkAnswer(test.of, a, changed) == nil {
				t.Error("was not refused")
			}
		})
	}
}

// Bodies are JSON of about the size that they are to have, with the prompt at the
// end of them.
func TestRequestBodies(t *testing.T) {
	for _, in := range []api{chat, responses} {
		for _, a := range asks {
			body := a.requestBody(in, clientModel)
			var object struct {
				Model  string
				Stream bool
			}
			if err := json.Unmarshal(body, &object); err != nil || object.Model != clientModel || object.Stream != (a.events > 0) {
				t.Errorf("%s %s: %v, %+v", in, a.name, err, object)
			}
			if !strings.Contains(string(body), prompt) {
				t.Errorf("%s %s: no prompt", in, a.name)
			}
			if a.size > 0 && (len(body) < a.size*85/100 || len(body) > a.size*110/100) {
				t.Errorf("%s %s has %d bytes, not %d", in, a.name, len(body), a.size)
			}
		}
	}
}
