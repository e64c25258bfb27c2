package chat2response

import (
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert"
)

// status is the answer of GET /status: what the original answers, and the
// upstreams, without their addresses.
type status struct {
	Name         string           `json:"name"`
	Version      string           `json:"version"`
	ProxyEnabled bool             `json:"proxy_enabled"`
	Routes       []string         `json:"routes"`
	Upstreams    []statusUpstream `json:"upstreams"`
	MCP          []statusMCP      `json:"mcp_servers,omitzero"`
}

// statusMCP is a server of tools, without what only its operator should see.
type statusMCP struct {
	Name  string   `json:"name"`
	State string   `json:"state"`
	Tools []string `json:"tools"`
}

type statusUpstream struct {
	Models  []string    `json:"models"`
	Mode    convert.API `json:"mode"`
	Dialect string      `json:"dialect"`
}

func (x *exchange) status() error {
	if err := x.admitAside(x.h.Status); err != nil {
		return err
	}
	s := status{
		Name: "chat2response", Version: version(), ProxyEnabled: true,
		Routes: []string{
			"GET /status", "POST /convert", "POST /proxy",
			"POST /v1/chat/completions", "POST /v1/responses", "/v1/*",
		},
	}
	for _, u := range x.h.Upstreams {
		s.Upstreams = append(s.Upstreams, statusUpstream{u.Models, u.Mode, u.Dialect})
	}
	if x.h.MCP != nil {
		s.MCP = []statusMCP{}
		for _, server := range x.h.MCP.bridge.Status() {
			s.MCP = append(s.MCP, statusMCP{server.Name, server.State, server.Tools})
		}
	}
	body, err := json.Marshal(&s)
	if err != nil {
		return err
	}
	x.outcome = "status"
	x.w.Header().Set("Content-Type", "application/json")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.w.Header().Set("Cache-Control", "no-store")
	x.w.WriteHeader(http.StatusOK)
	x.w.Write(body)
	return nil
}

// version is the version of this module in the running binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	const path = "github.com/labiium/chat2response"
	if info.Main.Path == path {
		return info.Main.Version
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
