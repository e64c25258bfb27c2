package chat2response

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// The gateway's tools in stored turns: what they have said is part of the chain, and
// is not asked of them again; the client's own outputs come by their ids.
func TestStateTools(t *testing.T) {
	const tools = `"tools":[{"type":"function","name":"lookup","parameters":{"type":"object","properties":{}}}],`
	for _, way := range []string{"", `"stream":true,`, `"background":true,`, `"background":true,"stream":true,`} {
		k := newKit(t)
		s, addr := playing(t,
			turn{calls: []call{{"call_0", "kit_echo", `{"text":"ours"}`}, {"call_1", "lookup", `{}`}}},
			turn{calls: []call{{"call_2", "kit_echo", `{"text":"more"}`}}},
			turn{text: "Done."},
			turn{text: "Again."})
		g := withKit(t, k, addr, "mode chat")
		answer := func(body string) map[string]any {
			t.Helper()
			a := g.post("/v1/responses", `{"model":"m",`+tools+way+body+`}`)
			if a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", way, a.status, a.body)
			}
			if resp := finalResponse(t, a, strings.Contains(way, "stream")); !strings.Contains(way, "background") || strings.Contains(way, "stream") {
				return resp
			} else {
				return g.waitFor(resp["id"].(string), "completed")
			}
		}
		first := answer(`"input":"Go on."`)
		if kinds := fmt.Sprintf("%v %v %v", dig(first, "output", 0, "type"), dig(first, "output", 1, "type"), dig(first, "output", 2)); kinds != "mcp_call function_call <nil>" || first["store"] != true {
			t.Fatalf("%s: %v", way, first)
		}
		second := answer(fmt.Sprintf(`"previous_response_id":%q,"input":[{"type":"function_call_output","call_id":"call_1","output":"found"}]`, first["id"]))
		if dig(second, "output", 0, "type") != "mcp_call" || dig(second, "output", 1, "content", 0, "text") != "Done." {
			t.Errorf("%s: %v", way, second["output"])
		}
		answer(fmt.Sprintf(`"previous_response_id":%q,"input":"And?"`, second["id"]))
		reqs := s.requests()
		history := compactJSON(reqs[len(reqs)-1]["messages"])
		for _, said := range []string{"Go on.", "echo of ours", "found", "echo of more", "Done.", "And?"} {
			if strings.Count(history, said) != 1 {
				t.Errorf("%s: %q is there %d times in %s", way, said, strings.Count(history, said), history)
			}
		}
		if k.calls.Load() != 2 {
			t.Errorf("%s: %d calls", way, k.calls.Load())
		}
	}
}

// A client that has the gateway remember approves a call by its id alone.
func TestStateApproval(t *testing.T) {
	k := newKit(t)
	s, addr := playing(t, turn{calls: []call{{"call_0", "kit_fail", `{"path":"x"}`}}}, turn{text: "Done."})
	g := withKit(t, k, addr, "mode chat\nmcp {\napprove kit/fail\n}")
	first := object(t, []byte(g.post("/v1/responses", `{"model":"m","input":"Go on."}`).body))
	if dig(first, "output", 0, "type") != "mcp_approval_request" || k.calls.Load() != 0 {
		t.Fatalf("%v", first)
	}
	approve := fmt.Sprintf(`{"model":"m","previous_response_id":%q,"input":[{"type":"mcp_approval_response","approval_request_id":%q,"approve":true}]}`, first["id"], dig(first, "output", 0, "id"))
	a := g.post("/v1/responses", approve)
	second := object(t, []byte(a.body))
	if a.status != 200 || k.calls.Load() != 1 || dig(second, "output", 0, "type") != "mcp_call" {
		t.Fatalf("%d calls, %d %s", k.calls.Load(), a.status, a.body)
	}
	a = g.post("/v1/responses", fmt.Sprintf(`{"model":"m","previous_response_id":%q,"input":"And?"}`, second["id"]))
	reqs := s.requests()
	if history := compactJSON(reqs[len(reqs)-1]["messages"]); a.status != 200 || k.calls.Load() != 1 || strings.Count(history, "no such file") != 1 {
		t.Errorf("%d calls, %d %s\n%s", k.calls.Load(), a.status, a.body, history)
	}
}
