//go:build attack && linux

package attack

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyless is a gateway that passes its clients' own keys on, to an upstream that knows one.
const keyless = `chat2response {UP} {
	mode chat
	state bbolt {DIR}/state.db
}`

// strict makes the upstream know one key only, for all that it answers.
func strict(p *provider, key string) {
	p.answers(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if r.Header.Get("Authorization") != "Bearer "+key {
			http.Error(w, `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`, http.StatusUnauthorized)
			return true
		}
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"object":"list","data":[{"id":"m","object":"model"}]}`)
			return true
		}
		chat(w, body, answerText, "")
		return true
	})
}

// H6: for a bearer that the upstream refuses nothing is stored; the one that it takes keeps what it has.
func TestInventedBearers(t *testing.T) {
	g := begin(t, keyless)
	strict(g.up, "sk-real")
	real := g.must("POST", "/v1/responses", `{"model":"m","input":"x"}`, bearer("sk-real")...)
	id, _ := decode(t, real.body)["id"].(string)
	if real.status != 200 || id == "" {
		t.Fatalf("%d %s", real.status, real.body)
	}
	conv := g.must("POST", "/v1/conversations", `{}`, bearer("sk-real")...)
	if conv.status != 200 {
		t.Errorf("the real key's conversation: %d %s", conv.status, conv.body)
	}
	size := func() (n int64) {
		files, _ := filepath.Glob(g.dir + "/*.db")
		for _, f := range files {
			if i, err := os.Stat(f); err == nil {
				n += i.Size()
			}
		}
		return n
	}
	before := size()
	large := `{"items":[{"type":"message","role":"user","content":"` + strings.Repeat("x", 1<<20) + `"}]}`
	for i := range 40 {
		r, err := g.ask("POST", "/v1/conversations", large, bearer(fmt.Sprintf("invented-%d", i))...)
		if err == nil && r.status != http.StatusUnauthorized {
			if i == 0 || r.status/100 == 2 && i == 39 {
				t.Errorf("an invented bearer: %d %.200s", r.status, r.body)
			}
		}
		_, _ = g.ask("POST", "/v1/responses", `{"model":"m","input":"`+strings.Repeat("y", 100<<10)+`"}`, bearer(fmt.Sprintf("invented-%d", i))...)
		_, _ = g.ask("POST", "/v1/responses", `{"model":"m","background":true,"input":"`+strings.Repeat("y", 100<<10)+`"}`, bearer(fmt.Sprintf("invented-%d", i))...)
	}
	if grown := size() - before; grown > 8<<20 {
		t.Errorf("the store has grown by %d MiB", grown>>20)
	}
	if r := g.must("GET", "/v1/responses/"+id, "", bearer("sk-real")...); r.status != 200 {
		t.Errorf("the real key's response is gone: %d %s", r.status, r.body)
	}
	g.alive()
}

// H6 on a memory store: strangers do not push out what an honest client has.
func TestPushedOut(t *testing.T) {
	g := begin(t, strings.Replace(keyless, "bbolt {DIR}/state.db", "memory", 1))
	strict(g.up, "sk-real")
	var ids []string
	for range 20 {
		r := g.must("POST", "/v1/responses", `{"model":"m","input":"`+strings.Repeat("mine ", 100<<10)+`"}`, bearer("sk-real")...)
		id, _ := decode(t, r.body)["id"].(string)
		ids = append(ids, id)
	}
	large := `{"items":[{"type":"message","role":"user","content":"` + strings.Repeat("x", 2700<<10) + `"}]}`
	for i := range 130 {
		_, _ = g.ask("POST", "/v1/conversations", large, bearer(fmt.Sprintf("invented-%d", i))...)
	}
	left := 0
	for _, id := range ids {
		if g.must("GET", "/v1/responses/"+id, "", bearer("sk-real")...).status == 200 {
			left++
		}
	}
	if left != len(ids) {
		t.Errorf("%d of %d responses are left", left, len(ids))
	}
}

// H7: whoever sends no bearer is a program on this machine or nobody: not a web page, and not a name that a stranger's
// DNS points here.
func TestAnonymousPages(t *testing.T) {
	g := begin(t, keyless)
	g.up.answers(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
		chat(w, body, answerText, "")
		return true
	})
	host := "127.0.0.1" + g.addr[strings.LastIndexByte(g.addr, ':'):]
	diary := `{"items":[{"type":"message","role":"user","content":"` + canaryA + `"}]}`
	mine := g.must("POST", "/v1/conversations", diary, "Host", host)
	id, _ := decode(t, mine.body)["id"].(string)
	if mine.status != 200 || id == "" {
		t.Fatalf("a program on this machine: %d %s", mine.status, mine.body)
	}
	if r := g.must("POST", "/convert?conversation_id="+id, hello, "Host", host); !strings.Contains(r.body, canaryA) {
		t.Logf("the conversation is not in /convert: %d %.200s", r.status, r.body)
	}
	for _, h := range [][]string{
		{"Host", host, "Origin", "https://evil.example"}, {"Host", host, "Origin", "null"}, {"Host", host, "Sec-Fetch-Site", "cross-site"},
		{"Host", "rebound.example"}, {"Host", "rebound.example", "Origin", "http://rebound.example"}, {"Host", "localhost.evil.example"},
	} {
		for _, c := range [][3]string{
			{"GET", "/v1/conversations/" + id, ""}, {"GET", "/v1/conversations/" + id + "/items", ""}, {"POST", "/convert?conversation_id=" + id, hello}, {"POST", "/proxy?conversation_id=" + id, hello},
			{"POST", "/v1/responses", fmt.Sprintf(`{"model":"m","conversation":%q,"input":"x"}`, id)}, {"DELETE", "/v1/conversations/" + id, ""},
			{"POST", "/v1/conversations", diary},
		} {
			g.up.take()
			r := g.must(c[0], c[1], c[2], h...)
			if strings.Contains(r.body, canaryA) {
				t.Errorf("%v %s %s: it is read", h[2:], c[0], c[1])
			}
			if strings.HasPrefix(c[1], "/v1/conversations") && r.status/100 == 2 {
				t.Errorf("%v %s %s: %d", h, c[0], c[1], r.status)
			}
			for _, s := range g.up.take() {
				if strings.Contains(string(s.body), canaryA) {
					t.Errorf("%v %s %s: it is in the prompt", h, c[0], c[1])
				}
			}
			if o := r.header.Get("Access-Control-Allow-Origin"); o != "" {
				t.Errorf("%v %s %s: a page may read it, %q", h, c[0], c[1], o)
			}
		}
	}
	if r := g.must("GET", "/v1/conversations/"+id, "", "Host", host); r.status != 200 {
		t.Errorf("the conversation is gone: %d %s", r.status, r.body)
	}
}

// One key fills what it has, and no more.
func TestOneKeysStore(t *testing.T) {
	g := begin(t, `chat2response {UP} {
	mode chat
	api_key `+operatorKey+`
	keys memory {
		admin_token `+adminToken+`
	}
	state bbolt {DIR}/state.db {
		max_bytes 8MiB
		max_records 10
	}
}`)
	key, good := g.mint(`{"tenant":"a"}`), g.mint(`{"tenant":"b"}`)
	kept := g.must("POST", "/v1/responses", `{"model":"m","input":"mine"}`, bearer(good)...)
	id, _ := decode(t, kept.body)["id"].(string)
	items := make([]string, 3000)
	for i := range items {
		items[i] = `{"role":"user","content":"x"}`
	}
	body := `{"model":"m","input":[` + strings.Join(items, ",") + `]}`
	for range 4 {
		_, _ = g.ask("POST", "/v1/responses", body, bearer(key)...)
	}
	for range 12 {
		_, _ = g.ask("POST", "/v1/responses", `{"model":"m","input":"`+strings.Repeat("z", 2<<20)+`"}`, bearer(key)...)
	}
	g.alive()
	// bbolt never gives back: what was written and deleted is in the file, a few times the cap.
	if i, err := os.Stat(g.dir + "/state.db"); err != nil || i.Size() > 64<<20 {
		t.Errorf("%v, %d MiB", err, i.Size()>>20)
	}
	if r := g.must("GET", "/v1/responses/"+id, "", bearer(good)...); r.status != 200 {
		t.Errorf("another's response is gone: %d", r.status)
	}
}
