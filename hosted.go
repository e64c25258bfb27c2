package chat2response

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/mcpbridge"
)

// wantsTools tells whether a request that could go on as it is has to be read,
// since the gateway may have tools for it.
func (x *exchange) wantsTools(body []byte) bool {
	if !x.mayUse() {
		return false
	}
	if !bytes.Contains(body, []byte(`"none"`)) {
		return true
	}
	var has struct {
		ToolChoice jsontext.Value `json:"tool_choice"`
	}
	return json.Unmarshal(body, &has) != nil || string(has.ToolChoice) != `"none"`
}

// withTools adds the gateway's tools to the request, where the client may use them
// and the request can.
func (x *exchange) withTools() error {
	if !x.mayUse() {
		return nil
	}
	req := x.req.Canonical
	if c := req.ToolChoice; c != nil && c.Word == "none" || x.req.Compacts() {
		return nil
	}
	x.sent = nil
	if req.Background != nil && *req.Background && x.memory == nil {
		return nil // the upstream makes it, by itself
	}
	if in := x.req.Chat(); in != nil {
		// Several answers, sound, and functions in the form of 2023 cannot go through
		// the loop.
		if in.N != nil && *in.N > 1 || len(in.Functions) > 0 || !x.req.Translatable() {
			return nil
		}
		x.sent = in.Messages
	}
	select { // apps start in no fixed order
	case <-x.h.app.ready:
	case <-x.r.Context().Done():
		return errGone
	}
	m := x.h.MCP
	l := &loop{x: x, tools: map[string]*mcpbridge.Tool{}, asks: map[string]bool{}, owner: x.owner()}
	named, remotes, err := x.named()
	if err != nil {
		return err
	}
	limits := mcpbridge.Limits{Turns: m.MaxTurns, Calls: m.MaxCalls, Parallel: m.Parallel, ResultBytes: m.MaxResult, CallTimeout: time.Duration(m.CallTimeout)}
	if most := req.MaxToolCalls; most != nil && *most > 0 {
		if limits.Calls == 0 {
			limits.Calls = 32
		}
		limits.Calls = int(min(int64(limits.Calls), *most))
	}
	l.session, err = m.bridge.Session(x.r.Context(), mcpbridge.Request{
		Allows: func(t *mcpbridge.Tool) bool {
			// A Chat client cannot be asked.
			return x.allows(t, named) && (x.req.In == convert.Responses || !m.approval(t))
		},
		ClientTools: x.req.Tools(), Remote: remotes, Owner: l.owner, Limits: limits,
	})
	if err != nil {
		return x.sessionError(err)
	}
	x.leaves = append(x.leaves, l.session.Close)
	tools := l.session.Tools()
	for i := range tools {
		t := &tools[i]
		l.tools[t.Name] = t
		l.asks[t.Name] = m.approval(t) || named[t.Server] != nil && named[t.Server].asks(t)
		x.req.More.Tools = append(x.req.More.Tools, responses.Tool{
			Type: "function", Name: t.Name, Description: t.Description, Parameters: t.Parameters, Strict: new(bool),
		})
	}
	for label := range named {
		if x.req.More.Hosted == nil {
			x.req.More.Hosted = map[string]bool{}
		}
		x.req.More.Hosted[label] = true
	}
	if len(tools) == 0 && len(named) == 0 {
		return nil
	}
	if in := x.req.Chat(); in != nil {
		in.Messages = hidden.unhide(l.owner, x.req.Model(), in.Messages, time.Now())
	}
	if x.req.More.ToolChoice, err = l.choice(req.ToolChoice); err != nil {
		return err
	}
	x.loop = l
	return nil
}

// owner is who the client is, for what is kept between its requests: its key, with
// those that have taken its place, or all that it authenticates itself with.
func (x *exchange) owner() string {
	if x.key != nil {
		return "key " + x.key.Owner()
	}
	sum := sha256.Sum256([]byte(bearer(x.r.Header)))
	return "bearer " + hex.EncodeToString(sum[:])
}

// allows tells whether the client may use a tool. named are the servers that the
// request names, nil if it names none: then those of the handler are offered.
func (x *exchange) allows(t *mcpbridge.Tool, named map[string]*namedServer) bool {
	m := x.h.MCP
	if !t.Remote {
		if len(m.Only) > 0 && !slices.Contains(m.Only, t.Server) {
			return false
		}
		if named != nil && (named[t.Server] == nil || !named[t.Server].has(t)) {
			return false
		}
	}
	return x.key == nil || x.key.AllowsTool(t.Name, inScope(x.key.Scopes, t))
}

// sessionError is why there are no tools.
func (x *exchange) sessionError(err error) error {
	var remote *mcpbridge.RemoteError
	if !errors.As(err, &remote) {
		return &convert.Error{Status: http.StatusServiceUnavailable, Type: "server_error", Code: "tools_unavailable", Message: "The gateway's tools are not running just now. Try again."}
	}
	x.h.MCP.logger.Warn("a client's MCP server", zap.String("label", remote.Label), zap.Error(remote.Err))
	if remote.Refused {
		return &convert.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "invalid_value", Param: "tools", Message: "The MCP server '" + remote.Label + "' cannot be used: " + remote.Err.Error() + "."}
	}
	// What answers at which address is not for the client to know.
	return &convert.Error{Status: http.StatusFailedDependency, Type: "external_connector_error", Param: "tools", Message: "Error retrieving tool list from MCP server: '" + remote.Label + "'."}
}

// choice is the client's tool_choice with tools of MCP servers under the names that
// the model knows; nil if it names none.
func (l *loop) choice(c *responses.ToolChoice) (*responses.ToolChoice, error) {
	switch {
	case c == nil:
		return nil, nil
	case c.Type == "mcp":
		list, err := l.chosen(c, "tool_choice")
		if err != nil || list == nil {
			return nil, err
		}
		if len(list) == 1 {
			return &list[0], nil
		}
		return &responses.ToolChoice{Type: "allowed_tools", Mode: "required", Tools: list}, nil
	case c.Type == "allowed_tools":
		out, changed := *c, false
		out.Tools = nil
		for i := range c.Tools {
			list, err := l.chosen(&c.Tools[i], fmt.Sprintf("tool_choice.tools[%d]", i))
			if err != nil {
				return nil, err
			}
			if list == nil {
				list = c.Tools[i : i+1]
			} else {
				changed = true
			}
			out.Tools = append(out.Tools, list...)
		}
		if changed {
			return &out, nil
		}
	}
	return nil, nil
}

// chosen are the functions for a choice of a server of the gateway, or of a tool of
// it; nil if it is not one.
func (l *loop) chosen(c *responses.ToolChoice, at string) ([]responses.ToolChoice, error) {
	if c.Type != "mcp" || !slices.Contains(l.x.h.MCP.bridge.names, c.ServerLabel) && !l.x.req.More.Hosted[c.ServerLabel] {
		return nil, nil
	}
	var list []responses.ToolChoice
	for _, t := range l.session.Tools() {
		if t.Server == c.ServerLabel && (c.Name == "" || c.Name == t.Original) {
			list = append(list, responses.ToolChoice{Type: "function", Name: t.Name})
		}
	}
	if list == nil {
		return nil, badTool(at, "Invalid '%s': the MCP server '%s' offers no such tool here.", at, c.ServerLabel)
	}
	return list, nil
}
