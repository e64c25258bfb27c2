//go:build attack && linux

package attack

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const canaryA = "the-secret-of-tenant-A-0123456789"

// H4: what was sealed for A is opened for A alone: not at /convert, with whatever key, and not for B.
func TestSealedOfAnother(t *testing.T) {
	g := begin(t, managed)
	a, b := g.mint(`{"label":"a","tenant":"a"}`), g.mint(`{"label":"b","tenant":"b"}`)
	g.up.answers(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
		chat(w, body, "the summary has "+canaryA, "thinking of "+canaryA)
		return true
	})
	reasoning := reasoningOf(t, g, a)
	r := g.must("POST", "/v1/responses/compact", `{"model":"m","input":[{"role":"user","content":"one"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"two"}]},{"role":"user","content":"three"}]}`, bearer(a)...)
	output, _ := decode(t, r.body)["output"].([]any)
	compaction := ""
	for _, o := range output {
		if item, _ := o.(map[string]any); item["type"] == "compaction" {
			compaction = text(item)
		}
	}
	if compaction == "" {
		t.Fatalf("no compaction in %d %.500s", r.status, r.body)
	}
	for _, sealed := range []string{reasoning, compaction} {
		if strings.Contains(sealed, canaryA) {
			t.Fatalf("it is not sealed: %.200s", sealed)
		}
	}
	g.up.answers(nil)
	call := `{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"o"}`
	for name, sealed := range map[string]string{"reasoning": reasoning, "compaction": compaction} {
		// A model reads its reasoning within a turn, and a summary before it.
		body := `{"model":"m","input":[{"role":"user","content":"x"},` + sealed + `,` + call + `]}`
		if name == "compaction" {
			body = `{"model":"m","input":[` + sealed + `,{"role":"user","content":"x"}]}`
		}
		for _, path := range []string{"/convert", "/v1/responses", "/v1/responses/compact", "/v1/responses/input_tokens", "/proxy"} {
			for who, key := range map[string]string{"nobody": "", "b": b, "an invented key": "sk_invented"} {
				g.up.take()
				r, err := g.ask("POST", path, body, bearer(key)...)
				if err != nil {
					g.alive()
					continue
				}
				if strings.Contains(r.body, canaryA) {
					t.Errorf("%s of a, %s, %s: it is in the answer", name, path, who)
				}
				for _, s := range g.up.take() {
					if bytes.Contains(s.body, []byte(canaryA)) {
						t.Errorf("%s of a, %s, %s: it is in the prompt", name, path, who)
					}
				}
			}
		}
		// A's own: the sealing is of use, and the test can see it.
		g.up.take()
		g.must("POST", "/v1/responses", body, bearer(a)...)
		opened := false
		for _, s := range g.up.take() {
			opened = opened || bytes.Contains(s.body, []byte(canaryA))
		}
		if !opened {
			t.Errorf("%s of a is not opened for a", name)
		}
	}
}

// What A has stored, B neither reads nor continues, deletes or lists, by any path, with whatever headers.
func TestStoredOfAnother(t *testing.T) {
	g := begin(t, managed)
	a, b := g.mint(`{"label":"a","tenant":"a"}`), g.mint(`{"label":"b","tenant":"b"}`)
	r := g.must("POST", "/v1/responses", `{"model":"m","input":"remember `+canaryA+`"}`, bearer(a)...)
	id, _ := decode(t, r.body)["id"].(string)
	r = g.must("POST", "/v1/conversations", `{"items":[{"type":"message","role":"user","content":"`+canaryA+`"}],"metadata":{"x":"`+canaryA+`"}}`, bearer(a)...)
	conv, _ := decode(t, r.body)["id"].(string)
	if id == "" || conv == "" {
		t.Fatalf("nothing is stored: %q %q", id, conv)
	}
	ways := [][3]string{
		{"GET", "/v1/responses/" + id, ""}, {"GET", "/v1/responses/" + id + "/input_items", ""}, {"DELETE", "/v1/responses/" + id, ""}, {"POST", "/v1/responses/" + id + "/cancel", "{}"},
		{"GET", "/v1/conversations/" + conv, ""}, {"GET", "/v1/conversations/" + conv + "/items", ""}, {"DELETE", "/v1/conversations/" + conv, ""},
		{"POST", "/v1/responses", fmt.Sprintf(`{"model":"m","previous_response_id":%q,"input":"x"}`, id)}, {"POST", "/v1/responses", fmt.Sprintf(`{"model":"m","conversation":%q,"input":"x"}`, conv)},
		{"POST", "/convert?conversation_id=" + conv, hello}, {"POST", "/proxy?conversation_id=" + conv, hello},
	}
	rnd := random(t)
	for range 300 {
		key := []string{b, "", "sk_invented"}[rnd.IntN(3)]
		c := ways[rnd.IntN(len(ways))]
		path, odder := c[1], rnd.IntN(2) == 0 && c[0] != "POST"
		if odder {
			path = odd[rnd.IntN(len(odd))](rnd, path)
		}
		g.up.take()
		message := c[0] + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nX-Tenant: a\r\nOpenAI-Project: a\r\nOpenAI-Organization: a\r\n"
		if key != "" {
			message += "Authorization: Bearer " + key + "\r\n"
		}
		r := g.raw(message + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(c[2]), c[2]))
		if strings.Contains(r.body, canaryA) || r.status/100 == 2 && !odder && !strings.Contains(path, "?") {
			t.Errorf("%s %s: %d %.200s", c[0], path, r.status, r.body)
		}
		for _, s := range g.up.take() {
			if bytes.Contains(s.body, []byte(canaryA)) {
				t.Errorf("%s %s: it is in another's prompt", c[0], path)
			}
		}
	}
	if r := g.must("GET", "/v1/responses/"+id, "", bearer(a)...); r.status != 200 {
		t.Errorf("a's response is gone: %d %s", r.status, r.body)
	}
	if r := g.must("GET", "/v1/conversations/"+conv+"/items", "", bearer(a)...); r.status != 200 || !strings.Contains(r.body, canaryA) {
		t.Errorf("a's conversation is gone: %d %s", r.status, r.body)
	}
}

// What goes along with the operator's key is the operator's: whose account it is, and what a repeated request is. What
// comes back of it is not the clients'.
func TestAccountHeaders(t *testing.T) {
	g := begin(t, managed)
	a, b := g.mint(`{"label":"a","tenant":"a"}`), g.mint(`{"label":"b","tenant":"b"}`)
	theirs := []string{"Set-Cookie", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Openai-Organization", "Openai-Project", "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Tokens"}
	g.up.answers(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		for _, h := range theirs {
			w.Header().Set(h, "of-the-upstream")
		}
		return false
	})
	for _, path := range []string{"/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/proxy"} {
		body := hello
		if path == "/v1/responses" || path == "/v1/embeddings" {
			body = `{"model":"m","input":"x"}`
		}
		keys := map[string]string{}
		for _, k := range []string{a, b} {
			g.up.take()
			r := g.must("POST", path, body, append(bearer(k), "OpenAI-Organization", "org-evil", "OpenAI-Project", "proj-evil", "Idempotency-Key", "1", "Cookie", "session=1")...)
			for _, h := range theirs {
				if v := r.header.Get(h); v == "of-the-upstream" {
					t.Errorf("%s: the upstream's %s reaches a client", path, h)
				}
			}
			for _, s := range g.up.take() {
				for _, h := range []string{"OpenAI-Organization", "OpenAI-Project"} {
					if s.header.Get(h) != "" {
						t.Errorf("%s: a client's %s goes along with the operator's key", path, h)
					}
				}
				keys[k] = s.header.Get("Idempotency-Key")
			}
		}
		if keys[a] != "" && keys[a] == keys[b] {
			t.Errorf("%s: two tenants have one Idempotency-Key, %q", path, keys[a])
		}
	}
	// Hop-by-hop by the client's choice (RFC 9110 §7.6.1) is not by the client's choice what the operator has set.
	for _, path := range []string{"/v1/chat/completions", "/v1/embeddings"} {
		g.up.take()
		r := g.raw("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer " + a + "\r\nConnection: close, Authorization\r\nContent-Length: " + fmt.Sprint(len(hello)) + "\r\n\r\n" + hello)
		if got := g.up.take(); r.status != 200 || len(got) != 1 || got[0].header.Get("Authorization") != "Bearer "+operatorKey {
			t.Errorf("%s with Connection: Authorization: %d, %d requests of the upstream", path, r.status, len(got))
		}
	}
}
