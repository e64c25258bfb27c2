//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/labiium/chat2response/mcpbridge"
)

// toolServer is an MCP server of the streamable HTTP transport, with another list of tools at each path.
type toolServer struct {
	ln     net.Listener
	server *http.Server

	mu    sync.Mutex
	lists map[string]string // by path, the result of tools/list
}

func newToolServer() (*toolServer, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &toolServer{ln: ln, lists: map[string]string{}}
	for _, n := range toolNumbers {
		s.offer(fmt.Sprintf("/tools-%d", n), times(n, `{"name":"tool#","description":"What number # is for.",`+
			`"inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}}`))
	}
	s.server = &http.Server{Handler: s}
	go s.server.Serve(ln) // until close
	return s, nil
}

func (s *toolServer) close()      { s.server.Close() }
func (s *toolServer) url() string { return "http://" + s.ln.Addr().String() }

func (s *toolServer) offer(path, tools string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists[path] = `{"tools":[` + tools + `]}`
}

// ServeHTTP answers what a client of tools needs: the handshake, the list, and nothing else. It has no session and no
// stream of its own, which servers may leave out (MCP 2025-11-25, basic/transports, "Listening for Messages from the
// Server").
func (s *toolServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "", http.StatusMethodNotAllowed)
		return
	}
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct{ ProtocolVersion string }
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	result := "{}"
	switch m.Method {
	case "initialize":
		result = `{"protocolVersion":` + quote(m.Params.ProtocolVersion) + `,"capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}`
	case "tools/list":
		s.mu.Lock()
		result = s.lists[r.URL.Path]
		s.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

// toolNumbers are how many tools sites have, 1024 being the most of one server.
var toolNumbers = []int{1, 256, 512, 1024}

var toolsRow = &growth{name: "MCP tools, a request", n: 256, times: 10, held: heldLinear, sites: toolSites(),
	prepare: func(g *grower, n int) (act, error) {
		x := exchange{site: fmt.Sprintf("tools-%d", n), path: paths[chat], body: `{"model":"bench","messages":[{"role":"user","content":"x"}]}`}
		return g.again(x, n, `"parameters"`, "")
	}}

func toolSites() []site {
	var out []site
	for _, n := range toolNumbers {
		name := fmt.Sprintf("tools-%d", n)
		out = append(out, site{name, fmt.Sprintf("chat2response UPSTREAM {\n\tmode chat\n\tstate off\n\tmcp s%d MCP/%s {\n\t\trequired\n\t}\n"+
			"\tmcp {\n\t\tallow_unauthenticated\n\t}\n}", n, name)})
	}
	return out
}

// What a schema can have many of. The most are just below the 256 KiB that a schema may have. A gateway reads a list
// when it connects to the server, and afterwards at most once a second; that would be mostly waiting, so it is measured
// how mcpbridge connects, in the gateway's process but without Caddy.
var (
	anyOfRow = schemaRow("MCP schema, anyOf branches", 2000, func(n int) string {
		return `{"anyOf":[` + times(n, `{"properties":{"p#":{}}}`) + `]}`
	})
	allOfRow = schemaRow("MCP schema, allOf required", 2000, func(n int) string {
		return `{"allOf":[` + times(n, `{"required":["p#"]}`) + `]}`
	})
	refsRow = schemaRow("MCP schema, $refs to a large part", 1500, func(n int) string {
		return `{"anyOf":[` + times(n, `{"$ref":"#/$defs/B"}`) + `],"$defs":{"B":{"properties":{` + times(n, `"p#":{}`) + `}}}}`
	})
)

func schemaRow(name string, n int, schema func(n int) string) *growth {
	return &growth{name: name, n: n, times: 5, held: heldLinear, via: "mcpbridge in the gateway's process",
		prepare: func(g *grower, n int) (act, error) {
			g.counter++
			path := fmt.Sprintf("/schema-%d", g.counter)
			g.mcp.offer(path, `{"name":"t","inputSchema":`+schema(n)+`}`)
			do := func() error {
				_, err := g.b.gateway.ask(order{Do: "list", URL: g.mcp.url() + path})
				return err
			}
			return do, do()
		}}
}

// listTools connects to an MCP server, which must offer one tool, and leaves it.
func listTools(url string) error {
	config, err := mcpbridge.Parse("bench", []byte(`{"servers":{"bench":{"url":`+quote(url)+`}}}`), nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), growthTimeout)
	defer cancel()
	b, err := mcpbridge.New(config, mcpbridge.Options{})
	if err != nil {
		return err
	}
	err = errors.Join(b.Start(ctx), b.Settle(ctx))
	tools := 0
	if s, sessionErr := b.Session(ctx, mcpbridge.Request{}); sessionErr == nil {
		tools = len(s.Tools())
		s.Close()
	}
	if err == nil && tools != 1 {
		err = fmt.Errorf("%d tools, not 1: %s", tools, strings.TrimSpace(fmt.Sprint(b.Status())))
	}
	return errors.Join(err, b.Stop(ctx))
}
