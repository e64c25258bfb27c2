//go:build unix

package mcpbridge

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// listed are the options of a fake server that has these tools only.
func listed(names ...string) string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = tool(n, "")
	}
	return "tools=[" + strings.Join(all, ",") + "]"
}

// M10: the message of a JSON-RPC error is cut as a result is.
func TestErrorLimit(t *testing.T) {
	cfg := fake("s", listed("rpcbig"))
	cfg.MaxOutput = 1000
	o, logs := options(t)
	b := beginWith(t, o, cfg)
	for limit, most := range map[int]int{0: 1000, 10: 10, 1 << 20: 1000} {
		got := session(t, b, Request{Limits: Limits{ResultBytes: limit}}).Run(t.Context(), []Call{{"1", "s_rpcbig", ""}}, nil)[0]
		if len(got.Text) > most+60 || !strings.HasPrefix(got.Text, "Error: "+strings.Repeat("e", min(most, 10))) || !strings.HasSuffix(got.Text, "more bytes cut]") {
			t.Errorf("limit %d: %d bytes", limit, len(got.Text))
		}
		var rpc *RPCError
		if !errors.As(got.Err, &rpc) || rpc.Code != -32099 || len(rpc.Message) > most+60 {
			t.Errorf("limit %d: the error has %d bytes", limit, len(got.Err.Error()))
		}
	}
	for _, e := range logs.FilterMessage("MCP tool call").All() {
		if text := e.ContextMap()["error"].(string); len(text) > maxErrorText+60 {
			t.Errorf("%d bytes in the log", len(text))
		}
	}
}

// Whatever a result has many or much of is cut, not only its text.
func TestResultLimits(t *testing.T) {
	b := begin(t, fake("s", listed("manypieces", "biglink")))
	o := run(t, b, "s_manypieces", "")
	if len(o.Content) != maxPieces+1 || o.Content[maxPieces].Text != "[976 more pieces cut]" {
		t.Errorf("%d pieces", len(o.Content))
	}
	o = run(t, b, "s_biglink", "")
	if c := o.Content[0]; len(c.URI) > maxURI+3 || len(c.Name) > maxSaid+3 || len(c.MIMEType) > maxSaid+3 {
		t.Errorf("uri %d, name %d, type %d", len(c.URI), len(c.Name), len(c.MIMEType))
	}
}

// What a server says of itself is kept while it is connected, so it is short.
func TestHelloLimit(t *testing.T) {
	o, _ := options(t)
	b := beginWith(t, o, fake("name", "name=100000"), fake("talk", "talk=1000000"))
	st := b.Status()
	if st[0].State != Ready || len(st[0].Is) > maxSaid+3 || !strings.HasPrefix(st[0].Is, "fakeeee") {
		t.Errorf("%s, calls itself %d bytes", st[0].State, len(st[0].Is))
	}
	if st[1].State == Ready || !strings.Contains(st[1].Error, "its answer to initialize has 1000") {
		t.Errorf("%s %q", st[1].State, st[1].Error)
	}
}

// The answer to a request of the server repeats little of it: 64 of them can wait.
func TestReplyLimit(t *testing.T) {
	b := begin(t, fake("s", listed("bigask")))
	if got := say(t, b, "s_bigask", ""); len(got) > 500 || !strings.Contains(got, "does not support mmm") || !strings.HasSuffix(got, "no answer to ping") {
		t.Errorf("%d bytes: %.300s", len(got), got)
	}
}

// A server over HTTP that asks and asks, and lets the answers wait, has a few of them on their way.
func TestRepliesOverHTTP(t *testing.T) {
	var mu sync.Mutex
	waiting, most := 0, 0
	done := make(chan struct{})
	defer close(done)
	rpc := &rpcServer{t: t, hook: func(w http.ResponseWriter, r *http.Request, method string, id json.RawMessage) bool {
		switch method {
		case "": // an answer of ours
			mu.Lock()
			waiting++
			most = max(most, waiting)
			mu.Unlock()
			select {
			case <-done:
			case <-r.Context().Done():
			}
			return true
		case "tools/call":
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 500 {
				fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":\"p%d\",\"method\":\"ping\"}\n\n", i)
			}
			_ = http.NewResponseController(w).Flush()
			eventually(t, "some answers came", func() bool { mu.Lock(); defer mu.Unlock(); return waiting >= maxReplies })
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"content\":[]}}\n\n", id)
			return true
		}
		return false
	}}
	b := begin(t, at5("web", httpServer(t, rpc).URL))
	name := b.Status()[0].Tools[0]
	say(t, b, name, "")
	mu.Lock()
	defer mu.Unlock()
	if most > maxReplies {
		t.Errorf("%d answers were on their way; at most %d should be", most, maxReplies)
	}
}

// M9: one tool that is too large is left out before any work is done on it, and the others stay.
func TestLargeTools(t *testing.T) {
	large := strings.Repeat("x", maxSchema)
	list := []jsontext.Value{
		jsontext.Value(tool("good", "")),
		jsontext.Value(tool("large", `{"title":"`+large+`"}`)),
		jsontext.Value(tool(strings.Repeat("n", maxToolName+1), "")),
		// Its schema is small enough, what it becomes is not.
		jsontext.Value(tool("grows", `{"anyOf":[{"$ref":"#/$defs/B"}],"$defs":{"B":{"properties":{"p":{"title":"`+large[:maxSchema/2]+`"}}}}}`)),
	}
	n := new(note)
	page, err := n.keepList(jsontext.Value(`{"tools":[`+strings.Join([]string{string(list[0]), string(list[1]), string(list[2]), string(list[3])}, ",")+`]}`), toolLimits{})
	if err != nil || len(n.tools) != 2 || n.large != 2 || len(page) > maxSchema {
		t.Errorf("%d tools kept, %d left out, %d bytes for mcp-go, %v", len(n.tools), n.large, len(page), err)
	}
	tools, left := define(list)
	if len(tools) != 1 || tools[0].name != "good" || left != 3 {
		t.Errorf("%d tools, %d left out", len(tools), left)
	}
}

// M9: what a client's server may list is looked at with each list and each page, before the schemas are read.
func TestListLimits(t *testing.T) {
	limits := toolLimits{maxRemoteTools, maxRemoteList}
	page := func(from, to, size int) jsontext.Value {
		var all []string
		for i := from; i < to; i++ {
			all = append(all, tool(fmt.Sprint("t", i), `{"x":"`+strings.Repeat("x", size)+`"}`))
		}
		return jsontext.Value(`{"tools":[` + strings.Join(all, ",") + `]}`)
	}
	n := new(note)
	if _, err := n.keepList(page(0, 100, 1), limits); err != nil {
		t.Error(err)
	}
	if _, err := n.keepList(page(100, 200, 1), limits); err == nil || !strings.Contains(err.Error(), "has 200 tools") {
		t.Error(err)
	}
	n = new(note)
	if _, err := n.keepList(page(0, 10, maxRemoteList/10), limits); err == nil || !strings.Contains(err.Error(), "at most 128 in 262144 bytes") {
		t.Error(err)
	}
	// Long descriptions, as their servers' authors write them, are cut and count for what is left of them.
	n = new(note)
	long := fmt.Sprintf(`{"tools":[{"name":"a","description":%q,"inputSchema":{"type":"object"}}]}`, strings.Repeat("d", 2*maxRemoteList))
	if _, err := n.keepList(jsontext.Value(long), limits); err != nil {
		t.Error(err)
	}
}

// A server that has new tools in each list is remembered for some of them, and by mcp-go for no more.
func TestPinsBounded(t *testing.T) {
	for _, does := range []string{"accept", "keep", "drop"} {
		o, logs := options(t)
		s := newServer(ServerConfig{Name: "s", Command: "none", OnChange: does}, &o, &dialer{})
		offered := 0
		for round := range 6 {
			var list []definition
			for i := range maxTools {
				list = append(list, definition{name: fmt.Sprintf("t%d_%d", round, i)})
			}
			offered = len(s.pin(list))
		}
		if len(s.pins) > maxPins {
			t.Errorf("%s: %d tools are remembered", does, len(s.pins))
		}
		if want := map[string]int{"accept": maxTools}[does]; offered != want {
			t.Errorf("%s: %d of the last list are offered, not %d", does, offered, want)
		}
		// All change at once: a few lines, not a thousand.
		last := make([]definition, 0, maxTools)
		for name := range s.pins {
			if len(last) < maxTools {
				last = append(last, definition{name: name, description: "other", pin: [32]byte{1}})
			}
		}
		kept := s.pin(last)
		if n := logs.FilterMessage("MCP tool is not what it was").Len(); n != changesShown {
			t.Errorf("%s: %d lines", does, n)
		}
		if does == "keep" && slices.ContainsFunc(kept, func(d definition) bool { return d.description == "other" }) || does == "drop" && len(kept) > 0 {
			t.Errorf("%s: %d are offered", does, len(kept))
		}
	}
}

// mcp-go keeps each tool that a connection has ever listed. So a connection that lists ever new ones ends.
func TestDifferentTools(t *testing.T) {
	o, _ := options(t)
	o.Refresh = 5 * time.Millisecond
	o.Backoff = func(int) time.Duration { return time.Hour }
	b := beginWith(t, o, fake("s", "fresh"))
	eventually(t, "the connection ended", func() bool {
		st := b.Status()[0]
		return st.State == Backoff && strings.Contains(st.Error, "has listed more than 4096 different tools")
	})
}

// Nobody takes the connections of all: one owner has some of them, and those that nobody uses give way.
func TestRemoteShares(t *testing.T) {
	b, err := New(&Config{}, Options{ClientHosts: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	rs := &b.remotes
	rs.allowed = func(netip.Addr) bool { return false } // nothing is dialled
	defer func() { _ = rs.stop() }()
	take := func(owner string, n int) (*remote, [32]byte, error) {
		key := sha256.Sum256(fmt.Appendf(nil, "%s %d", owner, n))
		one, err := rs.take(key, owner, ServerConfig{Name: "l", URL: "https://127.0.0.1:1"})
		return one, key, err
	}
	first, key, _ := take("a", 0)
	for i := 1; i < maxRemotesOfOne; i++ {
		if _, _, err := take("a", i); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := take("a", 99); err == nil || !strings.Contains(err.Error(), "of this client") {
		t.Errorf("one too many of one owner: %v", err)
	}
	rs.give(key, first)
	if _, _, err := take("a", 99); err != nil || len(rs.open) != maxRemotesOfOne {
		t.Errorf("an idle one does not give way: %v, %d open", err, len(rs.open))
	}
	for i := range maxRemotesInAll - maxRemotesOfOne {
		if _, _, err := take(fmt.Sprint("b", i), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := take("c", 0); err == nil || !strings.Contains(err.Error(), "64 servers are connected already") {
		t.Errorf("one too many in all: %v", err)
	}
	other, key, _ := take("b0", 0)
	rs.give(key, other)
	rs.give(key, other)
	if _, _, err := take("c", 0); err != nil || len(rs.open) != maxRemotesInAll {
		t.Errorf("an idle one of another does not give way: %v, %d open", err, len(rs.open))
	}
}
