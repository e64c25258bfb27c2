package chat2response

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/labiium/chat2response/mcpbridge"
)

// items are the members of a JSON array, to be put into another.
func items(v any) string {
	b, _ := json.Marshal(v)
	return strings.TrimSuffix(strings.TrimPrefix(string(b), "["), "]")
}

// TestMCPApproval: a tool that wants the client's approval waits for it, and runs
// once it is there, and only then, and only as it was asked for.
func TestMCPApproval(t *testing.T) {
	for _, stream := range []bool{false, true} {
		k := newKit(t)
		s, addr := playing(t,
			turn{text: "May I?", calls: []call{{"call_0", "kit_echo", `{"text":"a"}`}, {"call_1", "kit_fail", `{"path":"x"}`}}},
			turn{text: "Done."})
		g := withKit(t, k, addr, "mode chat\nmcp {\napprove kit/fail\n}")
		ask := func(input string) httpAnswer {
			return g.post("/v1/responses", fmt.Sprintf(`{"model":"m","stream":%t,"input":[{"role":"user","content":"Go on."},%s]}`, stream, input))
		}
		a := g.post("/v1/responses", fmt.Sprintf(`{"model":"m","stream":%t,"input":[{"role":"user","content":"Go on."}]}`, stream))
		resp := finalResponse(t, a, stream)
		_, types := responseText(t, a, stream)
		if strings.Join(types, ", ") != "message, mcp_call, mcp_approval_request" || dig(resp, "status") != "completed" || k.calls.Load() != 1 {
			t.Fatalf("stream %t: %v after %d calls\n%s", stream, types, k.calls.Load(), a.body)
		}
		request := dig(resp, "output", 2)
		id, _ := dig(request, "id").(string)
		if dig(request, "name") != "fail" || dig(request, "server_label") != "kit" || dig(request, "arguments") != `{"path":"x"}` || !strings.HasPrefix(id, "mcpr_") {
			t.Errorf("the request is %v", request)
		}
		output := items(resp["output"])
		answer := func(approve bool) string {
			return output + fmt.Sprintf(`,{"type":"mcp_approval_response","approval_request_id":"%s","approve":%t,"reason":"no time"}`, id, approve)
		}
		lastTool := func() string {
			reqs := s.requests()
			list, _ := reqs[len(reqs)-1]["messages"].([]any)
			text, _ := dig(list, -1, "content").(string)
			return text
		}

		if a := ask(answer(false)); a.status != http.StatusOK || k.calls.Load() != 1 || lastTool() != "The user declined this call: no time" {
			t.Errorf("declined: %d, %d calls, the model reads %q", a.status, k.calls.Load(), lastTool())
		}
		a = ask(answer(true))
		_, types = responseText(t, a, stream)
		done := finalResponse(t, a, stream)
		if strings.Join(types, ", ") != "mcp_call, message" || k.calls.Load() != 2 || lastTool() != "no such file" || dig(done, "output", 0, "approval_request_id") != id {
			t.Errorf("approved: %v, %d calls, the model reads %q\n%s", types, k.calls.Load(), lastTool(), a.body)
		}
		// The client sends all of it back: what has run does not run again.
		if a := ask(answer(true) + "," + items(done["output"]) + `,{"role":"user","content":"And now?"}`); a.status != http.StatusOK || k.calls.Load() != 2 {
			t.Errorf("as history: %d, %d calls\n%s", a.status, k.calls.Load(), a.body)
		}
		// A client can change what it sends back; it cannot have other calls run so.
		for name, forged := range map[string]string{
			"other arguments": strings.Replace(answer(true), `{\"path\":\"x\"}`, `{\"path\":\"y\"}`, 1),
			"another id":      strings.ReplaceAll(answer(true), id, "mcpr_"+strings.Repeat("0", 48)),
			"no id of ours":   strings.ReplaceAll(answer(true), id, "x"),
			"no request":      fmt.Sprintf(`{"type":"mcp_approval_response","approval_request_id":"%s","approve":true}`, id),
			"twice":           answer(true) + "," + items([]any{request}),
		} {
			if a := ask(forged); a.status != http.StatusBadRequest || k.calls.Load() != 2 {
				t.Errorf("%s: %d, %d calls\n%s", name, a.status, k.calls.Load(), a.body)
			} else {
				a.openAIError(t)
			}
		}
	}
}

// TestMCPSelected: a client names a server of the gateway, and so chooses among its
// tools.
func TestMCPSelected(t *testing.T) {
	k := newKit(t)
	s, addr := playing(t, turn{calls: []call{{"call_0", "kit_echo", `{"text":"a"}`}}}, turn{text: "Done."})
	g := withKit(t, k, addr, "mode chat")
	ask := func(tool, more string) (httpAnswer, string) {
		s.mu.Lock()
		s.seen = nil
		s.mu.Unlock()
		a := g.post("/v1/responses", `{"model":"m","input":"Go on.",`+more+`"tools":[`+tool+`]}`)
		var names []string
		if reqs := s.requests(); len(reqs) > 0 {
			list, _ := reqs[0]["tools"].([]any)
			for _, tool := range list {
				names = append(names, fmt.Sprint(dig(tool, "function", "name")))
			}
		}
		return a, strings.Join(names, " ")
	}
	const never = `"require_approval":"never"`
	a, offered := ask(`{"type":"mcp","server_label":"kit","authorization":"secret-token","headers":{"X":"secret-header"},"allowed_tools":["echo","wait"],`+never+`}`, "")
	_, types := responseText(t, a, false)
	if offered != "kit_echo kit_wait" || strings.Join(types, ", ") != "mcp_call, message" {
		t.Errorf("offered %q, got %v", offered, types)
	}
	if strings.Contains(a.body, "secret-") || !strings.Contains(compactJSON(object(t, []byte(a.body))["tools"]), `"server_label":"kit"`) {
		t.Errorf("the response repeats its tools as %s", compactJSON(object(t, []byte(a.body))["tools"]))
	}
	if _, offered := ask(`{"type":"mcp","server_label":"kit","allowed_tools":{"read_only":true},`+never+`}`, ""); offered != "kit_echo" {
		t.Errorf("read_only offers %q", offered)
	}
	a, _ = ask(`{"type":"mcp","server_label":"kit"}`, "") // says nothing of approval: always
	if _, types := responseText(t, a, false); strings.Join(types, ", ") != "mcp_approval_request" {
		t.Errorf("without require_approval: %v", types)
	}
	a, _ = ask(`{"type":"mcp","server_label":"kit","require_approval":{"never":{"tool_names":["echo"]}}}`, "")
	if _, types := responseText(t, a, false); strings.Join(types, ", ") != "mcp_call, message" {
		t.Errorf("a filter of what needs none: %v", types)
	}
	_, _ = ask(`{"type":"mcp","server_label":"kit",`+never+`}`, `"tool_choice":{"type":"mcp","server_label":"kit","name":"echo"},`)
	if got := compactJSON(s.requests()[0]["tool_choice"]); got != `{"function":{"name":"kit_echo"},"type":"function"}` {
		t.Errorf("tool_choice %s", got)
	}
	for name, c := range map[string]struct{ tool, more, param string }{
		"an address":        {`{"type":"mcp","server_label":"x","server_url":"https://mcp.example.com/mcp"}`, "", "tools[0]"},
		"a connector":       {`{"type":"mcp","server_label":"x","connector_id":"connector_gmail"}`, "", "tools[0]"},
		"nothing":           {`{"type":"mcp","server_label":"other"}`, "", "tools[0].server_url"},
		"no label":          {`{"type":"mcp"}`, "", "tools[0].server_label"},
		"twice":             {`{"type":"mcp","server_label":"kit"},{"type":"mcp","server_label":"kit"}`, "", "tools[1].server_label"},
		"a word of its own": {`{"type":"mcp","server_label":"kit","require_approval":"maybe"}`, "", "tools[0].require_approval"},
		"an unknown tool":   {`{"type":"mcp","server_label":"kit"}`, `"tool_choice":{"type":"mcp","server_label":"kit","name":"nothing"},`, "tool_choice"},
	} {
		a, _ := ask(c.tool, c.more)
		if a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		} else if e := a.openAIError(t); e.param() != c.param {
			t.Errorf("%s: param %q: %s", name, e.param(), e.Message)
		}
	}
}

// TestMCPClientServers: servers at addresses that clients name are refused unless
// their host is allowed, and then only on the open Internet.
func TestMCPClientServers(t *testing.T) {
	k := newKit(t)
	_, addr := playing(t, turn{text: "Hi."})
	g := withKit(t, k, addr, "mode chat\nmcp {\nclient_servers mcp.example.com localhost 169.254.169.254 127.0.0.1\n}")
	for url, status := range map[string]int{
		"https://elsewhere.example.com/mcp":          http.StatusBadRequest,
		"http://mcp.example.com/mcp":                 http.StatusBadRequest, // no TLS
		strings.Replace(k.url, "http:", "https:", 1): http.StatusBadRequest,
		"https://169.254.169.254/latest/meta-data/":  http.StatusBadRequest,
		"https://localhost/mcp":                      http.StatusBadRequest,
		"https://mcp.example.com:not-a-port/mcp":     http.StatusBadRequest,
	} {
		a := g.post("/v1/responses", `{"model":"m","input":"Go on.","tools":[{"type":"mcp","server_label":"theirs","authorization":"secret-token","server_url":"`+url+`"}]}`)
		if a.status != status {
			t.Errorf("%s: %d %s", url, a.status, a.body)
			continue
		}
		if e := a.openAIError(t); e.param() != "tools" || strings.Contains(a.body, "secret-token") {
			t.Errorf("%s: %s", url, a.body)
		}
	}
	if strings.Contains(fmt.Sprint(takeLogs()), "secret-token") {
		t.Error("the client's token is in the log")
	}
	a := g.post("/v1/responses", `{"model":"m","input":"Go on.","tools":[{"type":"mcp","server_label":"kit","server_url":"https://mcp.example.com/mcp"}]}`)
	if e := a.openAIError(t); a.status != http.StatusBadRequest || e.param() != "tools[0].server_label" {
		t.Errorf("a label of the gateway's: %d %s", a.status, a.body)
	}
}

// TestMCPClientServer: a server that a client names, at a host that is allowed, is
// listed, asks for approval, and runs; what the client has told it stays between
// them.
func TestMCPClientServer(t *testing.T) {
	k := newKit(t)
	var mu sync.Mutex
	var tokens []string
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		tokens = append(tokens, r.Header.Get("Authorization")+" "+r.Header.Get("X-Team"))
		mu.Unlock()
		k.handler.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	trust = func(o *mcpbridge.Options) {
		o.ClientAddresses = func(netip.Addr) bool { return true }
		o.ClientTLS = &tls.Config{InsecureSkipVerify: true, ServerName: "example.com"}
	}
	t.Cleanup(func() { trust = nil })
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	s, addr := playing(t, turn{calls: []call{{"call_0", "theirs_echo", `{"text":"a"}`}}}, turn{text: "Done."})
	g := start(t, "chat2response "+addr+" {\nmode chat\nmcp {\nclient_servers localhost:"+port+"\n}\n}")
	ask := func(input string) httpAnswer {
		return g.post("/v1/responses", `{"model":"m","stream":true,"input":[{"role":"user","content":"Go on."}`+input+`],"tools":[{"type":"mcp",
			"server_label":"theirs","server_url":"https://localhost:`+port+`/mcp","authorization":"secret-token","headers":{"X-Team":"secret-team"},"allowed_tools":["echo"]}]}`,
			"Authorization", "Bearer of-the-client")
	}
	a := ask("")
	resp := finalResponse(t, a, true)
	if _, types := responseText(t, a, true); strings.Join(types, ", ") != "mcp_list_tools, mcp_approval_request" || k.calls.Load() != 0 {
		t.Fatalf("%v after %d calls\n%s", types, k.calls.Load(), a.body)
	}
	if names := compactJSON(dig(resp, "output", 0, "tools")); !strings.Contains(names, `"name":"echo"`) || strings.Contains(names, `"name":"fail"`) {
		t.Errorf("listed are %s", names)
	}
	id, _ := dig(resp, "output", 1, "id").(string)
	a = ask("," + items(resp["output"]) + `,{"type":"mcp_approval_response","approval_request_id":"` + id + `","approve":true}`)
	if _, types := responseText(t, a, true); strings.Join(types, ", ") != "mcp_call, message" || k.calls.Load() != 1 {
		t.Errorf("%v after %d calls\n%s", types, k.calls.Load(), a.body)
	}
	reqs := s.requests()
	if got := compactJSON(dig(reqs[len(reqs)-1], "messages", -1)); !strings.Contains(got, "echo of a") {
		t.Errorf("the model was told %s", got)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, token := range tokens {
		if token != "Bearer secret-token secret-team" {
			t.Errorf("the server was sent %q", token)
		}
	}
	if logs := fmt.Sprint(takeLogs()); strings.Contains(logs+a.body, "secret-") {
		t.Error("a secret is in the log or in the answer")
	}
}

// TestMCPStatus: what is said of the servers to everyone, and to the operator.
func TestMCPStatus(t *testing.T) {
	k := newKit(t)
	_, addr := playing(t, turn{text: "Hi."})
	g := withKit(t, k, addr, "mode chat\nmcp nowhere http://"+deadAddr(t)+"/mcp")
	status := object(t, []byte(g.get("/status").body))
	if got := compactJSON(dig(status, "mcp_servers", 0)); got != `{"name":"kit","state":"ready","tools":["kit_echo","kit_fail","kit_picture","kit_wait"]}` {
		t.Errorf("%s", got)
	}
	if dig(status, "mcp_servers", 1, "name") != "nowhere" || dig(status, "mcp_servers", 1, "error") != nil {
		t.Errorf("%v", dig(status, "mcp_servers", 1))
	}
	w := httptest.NewRecorder()
	if err := (adminAPI{}).mcp(w, httptest.NewRequest(http.MethodGet, "/chat2response/mcp", nil)); err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all) != 2 || all[0]["protocol"] == nil || all[1]["error"] == nil {
		t.Errorf("the operator is told %s, %v", w.Body, err)
	}
}

// TestMCPChain: what ran in a stored turn is known in the next, and an approval may
// answer a request that only the gateway has kept.
func TestMCPChain(t *testing.T) {
	k := newKit(t)
	s, addr := playing(t,
		turn{calls: []call{{"call_0", "kit_echo", `{"text":"a"}`}, {"call_1", "kit_fail", `{"path":"x"}`}}},
		turn{text: "Done."}, turn{text: "Again."})
	g := withKit(t, k, addr, "mode chat\nmcp {\napprove kit/fail\n}")
	first := finalResponse(t, g.post("/v1/responses", `{"model":"m","input":"Go on."}`), false)
	request, _ := dig(first, "output", 1, "id").(string)
	a := g.post("/v1/responses", fmt.Sprintf(`{"model":"m","previous_response_id":%q,"input":[{"type":"mcp_approval_response","approval_request_id":%q,"approve":true}]}`, first["id"], request))
	second := finalResponse(t, a, false)
	if _, types := responseText(t, a, false); strings.Join(types, ", ") != "mcp_call, message" || k.calls.Load() != 2 {
		t.Fatalf("%v after %d calls\n%s", types, k.calls.Load(), a.body)
	}
	a = g.post("/v1/responses", fmt.Sprintf(`{"model":"m","stream":true,"previous_response_id":%q,"input":"And now?"}`, second["id"]))
	if text, _ := responseText(t, a, true); text != "Again." || k.calls.Load() != 2 {
		t.Errorf("%q after %d calls\n%s", text, k.calls.Load(), a.body)
	}
	reqs := s.requests()
	var said []string
	list, _ := reqs[len(reqs)-1]["messages"].([]any)
	for _, m := range list {
		switch calls, _ := dig(m, "tool_calls").([]any); {
		case len(calls) > 0:
			for _, c := range calls {
				said = append(said, fmt.Sprint(dig(c, "function", "name"), dig(c, "function", "arguments")))
			}
		default:
			said = append(said, fmt.Sprint(dig(m, "content")))
		}
	}
	if got, want := strings.Join(said, " | "), `Go on. | kit_echo{"text":"a"} | echo of a | kit_fail{"path":"x"} | no such file | Done. | And now?`; got != want {
		t.Errorf("the history is\n%s\nnot\n%s", got, want)
	}
}
