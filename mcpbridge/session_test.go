//go:build unix

package mcpbridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Test 10: eight slow calls take one call's time, and come back in the order of the calls; serial ones take their own.
func TestParallel(t *testing.T) {
	serial := fake("serial")
	serial.Parallel = 1
	b := begin(t, fake("s"), serial)
	calls := make([]Call, 8)
	for i := range calls {
		calls[i] = Call{fmt.Sprint(i), "s_sleep", fmt.Sprintf(`{"ms":%d}`, 300-20*i)}
	}
	var came []string
	began := time.Now()
	out := session(t, b, Request{}).Run(t.Context(), calls, func(o Outcome) { came = append(came, o.Call.ID) })
	if took := time.Since(began); took > 1200*time.Millisecond {
		t.Errorf("eight calls took %v", took)
	}
	for i, o := range out {
		if o.Call.ID != fmt.Sprint(i) || o.Text != "slept" || o.Tool.Original != "sleep" || o.Tool.Server != "s" {
			t.Errorf("%d: %+v", i, o)
		}
	}
	if slices.IsSorted(came) || len(came) != 8 {
		t.Errorf("came as %v, though the last is the quickest", came)
	}
	for i := range calls {
		calls[i] = Call{fmt.Sprint(i), "serial_sleep", `{"ms":50}`}
	}
	began = time.Now()
	session(t, b, Request{}).Run(t.Context(), calls, nil)
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("eight serial calls of 50 ms took %v", took)
	}
	began = time.Now()
	session(t, b, Request{Limits: Limits{Parallel: 2}}).Run(t.Context(), []Call{{"", "s_sleep", `{"ms":100}`}, {"", "s_sleep", `{"ms":100}`}, {"", "s_sleep", `{"ms":100}`}}, nil)
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("three calls, two at a time, took %v", took)
	}
}

// Test 9, as far as it is the bridge's: each failure is a result.
func TestFailures(t *testing.T) {
	b := begin(t, fake("s"), fake("dead", "die"))
	for arguments, want := range map[string]string{
		"[1]":           "Error: the arguments are not a JSON object",
		`{"a":`:         "Error: the arguments are not a JSON object",
		`{"a":1} trash`: "Error: the arguments are not a JSON object",
		`null`:          "Error: the arguments are not a JSON object",
		`"{}"`:          "Error: the arguments are not a JSON object",
	} {
		if o := run(t, b, "s_echo", arguments); o.Text != want || !errors.Is(o.Err, ErrArguments) {
			t.Errorf("%s: %q", arguments, o.Text)
		}
	}
	for _, arguments := range []string{"", "{}", " {} "} {
		if o := run(t, b, "s_echo", arguments); o.Text != "{}" {
			t.Errorf("%q: %q", arguments, o.Text)
		}
	}
	for _, tl := range session(t, b, Request{}).Tools() {
		if tl.Server == "dead" {
			t.Errorf("a server that is down offers %s", tl.Name)
		}
	}
	asked := 0
	s := session(t, b, Request{Allows: func(*Tool) bool {
		if asked++; asked > 1000 {
			panic("boom")
		}
		return true
	}})
	asked = 1000
	if o := s.Run(t.Context(), []Call{{"1", "s_echo", ""}}, nil)[0]; !errors.Is(o.Err, ErrPanic) || o.Text != "Error: the tool call failed inside the gateway" {
		t.Errorf("%+v", o)
	}
}

// Test 18, as far as it is the bridge's: what the caller does not allow is neither listed nor run.
func TestAllows(t *testing.T) {
	b := begin(t, fake("s"))
	yes := true
	s := session(t, b, Request{Allows: func(t *Tool) bool { return t.ReadOnly && yes }})
	if tools := s.Tools(); len(tools) != 1 || tools[0].Name != "s_readonly" || !s.Owns("s_readonly") || s.Owns("s_echo") {
		t.Errorf("%+v", s.Tools())
	}
	out := s.Run(t.Context(), []Call{{"1", "s_echo", ""}, {"2", "s_readonly", ""}}, nil)
	if !errors.Is(out[0].Err, ErrUnknownTool) {
		t.Errorf("%+v", out[0])
	}
	if _, ran := errors.AsType[*RPCError](out[1].Err); !ran { // the fake knows no such tool
		t.Errorf("%+v", out[1])
	}
	yes = false // the key was revoked meanwhile
	if o := s.Run(t.Context(), []Call{{"3", "s_readonly", ""}}, nil)[0]; !errors.Is(o.Err, ErrForbidden) || o.Text != "Error: this tool is not allowed here" {
		t.Errorf("%+v", o)
	}
}

func TestOffered(t *testing.T) {
	cfg := fake("my.fs")
	cfg.Enabled = []string{"e*", "read?nly", "fail"}
	cfg.Disabled = []string{"env", "escape"}
	cfg.Approve = []string{"fa*"}
	b := begin(t, cfg, fake("z"))
	s := session(t, b, Request{ClientTools: []string{"my_fs_fail", "z_echo"}})
	var names []string
	for _, tl := range s.Tools() {
		if tl.Server == "my.fs" {
			names = append(names, tl.Name)
		}
		if tl.Name == "z_echo" {
			t.Error("the client's tool has the name, and ours is offered beside it")
		}
	}
	if !slices.Equal(names, []string{"my_fs_echo", "my_fs_readonly"}) {
		t.Errorf("%v", names)
	}
	for _, tl := range session(t, b, Request{}).Tools() {
		if tl.Approve != (tl.Name == "my_fs_fail") {
			t.Errorf("%s: approve %v", tl.Name, tl.Approve)
		}
		if !pattern.MatchString(tl.Name) || tl.Parameters.Kind() != '{' || tl.Schema.Kind() != '{' {
			t.Errorf("%+v", tl)
		}
	}
	if a, b := fmt.Sprint(session(t, b, Request{}).Tools()), fmt.Sprint(session(t, b, Request{}).Tools()); a != b {
		t.Error("two sessions' tools differ")
	}
}

// Test 16: odd schemas fail neither the list nor each other.
func TestSchemaZoo(t *testing.T) {
	zoo := `[{"name":"t1","inputSchema":true},{"name":"t2","inputSchema":{"type":["object","null"]}},{"name":"t3","inputSchema":{"type":"object","required":true}},` +
		`{"name":"t4","inputSchema":{"type":"object"},"outputSchema":7},{"name":"t5"},{"name":"t6","inputSchema":{"anyOf":[{"properties":{"b":{},"a":{}}}]}},` +
		`{"name":"t7","inputSchema":{"type":"object","properties":{"n":{"maximum":9007199254740993},"a":{"z":1,"b":2}}},"description":7,"annotations":"x"},` +
		`{"name":"","inputSchema":{}},17,{"name":"t7","inputSchema":{"type":"object"}},{"name":"t8","inputSchema":null}]`
	b := begin(t, fake("zoo", "tools="+zoo), fake("zoomodern", "modern", "tools="+zoo))
	for _, server := range []string{"zoo", "zoomodern"} {
		var got []string
		for _, tl := range session(t, b, Request{Allows: func(t *Tool) bool { return t.Server == server }}).Tools() {
			got = append(got, tl.Original+" "+string(tl.Parameters))
		}
		none := `{"type":"object","properties":{}}`
		want := []string{"t1 " + none, "t2 " + none, "t3 " + none, "t4 " + none, "t5 " + none,
			`t6 {"type":"object","properties":{"b":{},"a":{}}}`, `t7 {"type":"object","properties":{"n":{"maximum":9007199254740993},"a":{"z":1,"b":2}}}`, "t8 " + none}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%s", server, strings.Join(got, "\n"))
		}
	}
}

// Test 8, as far as it is the bridge's: the budget of calls and of turns.
func TestBudget(t *testing.T) {
	b := begin(t, fake("s"))
	s := session(t, b, Request{Limits: Limits{Turns: 3, Calls: 3}})
	call := Call{"1", "s_echo", ""}
	if s.Last() {
		t.Error("the first turn is the last")
	}
	out := s.Run(t.Context(), []Call{call, call}, nil)
	if s.Last() || out[1].Failed {
		t.Errorf("%+v", out)
	}
	out = s.Run(t.Context(), []Call{call, call, call}, nil)
	if out[0].Failed || !errors.Is(out[1].Err, ErrBudget) || out[2].Text != "Error: the limit of tool calls is reached; answer with what you have" || !s.Last() {
		t.Errorf("%+v", out)
	}
	s = session(t, b, Request{Limits: Limits{Turns: 2}})
	s.Run(t.Context(), nil, nil)
	if !s.Last() {
		t.Error("the second turn of two is not the last")
	}
}

func TestOutputLimit(t *testing.T) {
	cfg := fake("s")
	cfg.MaxOutput = 1001
	b := begin(t, cfg)
	o := run(t, b, "s_big", "")
	if !strings.HasSuffix(o.Text, "\n[261144 more bytes cut]") || !strings.HasPrefix(o.Text, strings.Repeat("ä", 500)+"\n[") || !utf8.ValidString(o.Text) {
		t.Errorf("%d bytes, the end %q", len(o.Text), o.Text[len(o.Text)-40:])
	}
	if len(o.Content) != 1 || len(o.Content[0].Text) != len(o.Text) {
		t.Errorf("content of %d bytes", len(o.Content[0].Text))
	}
	o = session(t, b, Request{Limits: Limits{ResultBytes: 10}}).Run(t.Context(), []Call{{"", "s_big", ""}}, nil)[0]
	if !strings.HasPrefix(o.Text, "äääää\n[") {
		t.Errorf("%q", o.Text)
	}
	o = session(t, b, Request{Limits: Limits{ResultBytes: 1 << 20}}).Run(t.Context(), []Call{{"", "s_big", ""}}, nil)[0]
	if len(o.Text) > 1100 {
		t.Errorf("the request has raised the server's limit: %d bytes", len(o.Text))
	}
	o = session(t, b, Request{Limits: Limits{ResultBytes: 10}}).Run(t.Context(), []Call{{"", "s_structured", ""}}, nil)[0]
	if o.Structured != nil {
		t.Errorf("%s", o.Structured)
	}
}

// The log has which tool was called with arguments of what names, and nothing of their values.
func TestAudit(t *testing.T) {
	o, logs := options(t)
	b := beginWith(t, o, fake("s"))
	say(t, b, "s_echo", `{"password":"hunter2","b":1}`)
	run(t, b, "s_fail", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	session(t, b, Request{}).Run(ctx, []Call{{"", "s_hang", ""}}, nil)
	var outcomes []string
	for _, e := range logs.FilterMessage("MCP tool call").All() {
		m := e.ContextMap()
		outcomes = append(outcomes, fmt.Sprint(m["mcp_server"], " ", m["tool"], " ", m["arguments"], " ", m["outcome"]))
	}
	if !slices.Equal(outcomes, []string{"s echo [b password] ok", "s fail [] failed", "s hang [] cancelled"}) {
		t.Errorf("%q", outcomes)
	}
	for _, e := range logs.All() {
		if strings.Contains(fmt.Sprint(e.ContextMap()), "hunter2") {
			t.Errorf("%v", e.ContextMap())
		}
	}
}
