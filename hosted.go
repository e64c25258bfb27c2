package chat2response

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
	if c := req.ToolChoice; c != nil && c.Word == "none" {
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

// owner is who the client is, for what is kept between its requests.
func (x *exchange) owner() string {
	if x.key != nil {
		return "key " + x.key.ID
	}
	sum := sha256.Sum256([]byte(x.r.Header.Get("Authorization") + "\n" + x.r.Header.Get("Api-Key")))
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

// namedServer is a tool of type mcp in a request: a server of the gateway that it
// selects, or one of its own.
type namedServer struct {
	Label         string            `json:"-"`
	URL           string            `json:"server_url"`
	Authorization string            `json:"authorization"`
	Headers       map[string]string `json:"headers"`
	Allowed       toolFilter        `json:"allowed_tools"`
	Approval      jsontext.Value    `json:"require_approval"`
	ConnectorID   jsontext.Value    `json:"connector_id"`
	TunnelID      jsontext.Value    `json:"tunnel_id"`
	Callers       jsontext.Value    `json:"allowed_callers"`

	always, never *toolFilter
	asksAll       bool
}

// toolFilter is a list of names, or an object.
type toolFilter struct {
	Names    []string `json:"tool_names"`
	ReadOnly bool     `json:"read_only"`
	set      bool
}

func (f *toolFilter) UnmarshalJSON(b []byte) error {
	switch f.set = true; jsontext.Value(b).Kind() {
	case 'n':
		*f = toolFilter{}
		return nil
	case '[':
		return json.Unmarshal(b, &f.Names)
	}
	type object toolFilter
	return json.Unmarshal(b, (*object)(f))
}

func (f *toolFilter) has(t *mcpbridge.Tool) bool {
	return (f.Names == nil || slices.Contains(f.Names, t.Original)) && (!f.ReadOnly || t.ReadOnly)
}

func (n *namedServer) has(t *mcpbridge.Tool) bool { return !n.Allowed.set || n.Allowed.has(t) }

// asks tells whether the client wants to be asked before each call of a tool. It
// does where it does not say otherwise.
func (n *namedServer) asks(t *mcpbridge.Tool) bool {
	switch {
	case n.always != nil && n.always.has(t):
		return true
	case n.never != nil && n.never.has(t):
		return false
	}
	return n.asksAll
}

// named reads the request's tools of type mcp that are for the gateway: those that
// select a server of its own, and, for a Chat upstream, those with an address. A
// Responses upstream has the latter itself.
func (x *exchange) named() (map[string]*namedServer, []mcpbridge.Remote, error) {
	var all map[string]*namedServer
	var remotes []mcpbridge.Remote
	own := x.h.MCP.bridge.names
	for i := range x.req.Canonical.Tools {
		t := &x.req.Canonical.Tools[i]
		if t.Type != "mcp" {
			continue
		}
		at := fmt.Sprintf("tools[%d]", i)
		n := &namedServer{Label: t.ServerLabel}
		if len(t.Unknown) > 0 {
			if err := json.Unmarshal(t.Unknown, n); err != nil {
				return nil, nil, badTool(at, "'%s' could not be read: check 'server_url', 'headers', 'allowed_tools' and 'require_approval'.", at)
			}
		}
		selects := (n.URL == "" || n.URL == "gateway") && !isSet(n.ConnectorID) && !isSet(n.TunnelID)
		switch {
		case selects && slices.Contains(own, n.Label):
		case x.up.Mode == convert.Responses, !selects && len(x.h.MCP.ClientServers) == 0:
			continue // the upstream's, or refused as any other hosted tool
		case n.Label == "":
			return nil, nil, badTool(at+".server_label", "Missing required parameter: '%s.server_label'.", at)
		case selects:
			return nil, nil, badTool(at+".server_url", "Missing required parameter: '%s.server_url'. This gateway has no MCP server '%s' of its own.", at, n.Label)
		case isSet(n.ConnectorID):
			return nil, nil, badTool(at+".connector_id", "Unsupported parameter: '%s.connector_id'. Connectors exist at OpenAI only; name a 'server_url'.", at)
		case isSet(n.TunnelID):
			return nil, nil, badTool(at+".tunnel_id", "Unsupported parameter: '%s.tunnel_id'. Tunnels exist at OpenAI only; name a 'server_url'.", at)
		case isSet(n.Callers) || t.DeferLoading != nil && *t.DeferLoading:
			return nil, nil, badTool(at, "Unsupported parameter: '%s' has 'allowed_callers' or 'defer_loading', which this gateway does not have.", at)
		case slices.Contains(own, n.Label):
			return nil, nil, badTool(at+".server_label", "Invalid '%s.server_label': '%s' is a server of this gateway. Choose another label, or leave out 'server_url' to use that one.", at, n.Label)
		default:
			remote := mcpbridge.Remote{Label: n.Label, URL: n.URL, Authorization: n.Authorization, Headers: n.Headers, ReadOnly: n.Allowed.ReadOnly}
			if n.Allowed.set {
				remote.Tools = n.Allowed.Names
			}
			remotes = append(remotes, remote)
		}
		if all[n.Label] != nil {
			return nil, nil, badTool(at+".server_label", "Duplicate MCP server label '%s' in '%s'.", n.Label, at)
		}
		if err := n.approvals(at); err != nil {
			return nil, nil, err
		}
		if all == nil {
			all = map[string]*namedServer{}
		}
		all[n.Label] = n
		t.Unknown = withoutSecrets(t.Unknown)
	}
	return all, remotes, nil
}

func badTool(param, format string, args ...any) error {
	return &convert.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "invalid_value", Param: param, Message: fmt.Sprintf(format, args...)}
}

func isSet(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != 'n' }

func (n *namedServer) approvals(at string) error {
	n.asksAll = true
	if !isSet(n.Approval) {
		return nil
	}
	var word string
	if json.Unmarshal(n.Approval, &word) == nil {
		if word != "always" && word != "never" {
			return badTool(at+".require_approval", "Invalid value: '%s'. Supported values are: 'always' and 'never', or an object with filters under these names.", word)
		}
		n.asksAll = word == "always"
		return nil
	}
	var filters struct {
		Always *toolFilter `json:"always"`
		Never  *toolFilter `json:"never"`
	}
	if json.Unmarshal(n.Approval, &filters) != nil {
		return badTool(at+".require_approval", "Invalid type for '%s.require_approval': expected 'always', 'never', or an object with filters under these names.", at)
	}
	n.always, n.never = filters.Always, filters.Never
	return nil
}

// withoutSecrets are the members of a tool as a response repeats them.
func withoutSecrets(members jsontext.Value) jsontext.Value {
	var object map[string]jsontext.Value
	if json.Unmarshal(members, &object) != nil {
		return nil
	}
	delete(object, "authorization")
	if isSet(object["headers"]) {
		object["headers"] = jsontext.Value("null")
	}
	b, err := json.Marshal(object, json.Deterministic(true))
	if err != nil {
		return nil
	}
	return b
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

// listings are the lists of tools of the servers that the client has named with an
// address, as items, but for those that the input has already.
func (l *loop) listings() []responses.Item {
	byLabel := map[string][]any{}
	var labels []string
	for _, t := range l.session.Tools() {
		if !t.Remote {
			continue
		}
		if byLabel[t.Server] == nil {
			labels = append(labels, t.Server)
		}
		byLabel[t.Server] = append(byLabel[t.Server], map[string]any{
			"annotations": map[string]bool{"read_only": t.ReadOnly}, "description": t.Description, "input_schema": t.Schema, "name": t.Original,
		})
	}
	for _, it := range l.x.req.Canonical.Input {
		if it.Type == "mcp_list_tools" {
			delete(byLabel, it.ServerLabel)
		}
	}
	var items []responses.Item
	for _, label := range labels {
		if byLabel[label] == nil {
			continue
		}
		tools, err := json.Marshal(map[string]any{"tools": byLabel[label]}, json.Deterministic(true))
		if err != nil {
			continue
		}
		items = append(items, responses.Item{Type: "mcp_list_tools", ID: convert.NewID("mcpl_"), ServerLabel: label, Unknown: tools})
	}
	return items
}

// approvalOf asks the client for its approval of a call. The id can only come from
// here, and for this call.
func (l *loop) approvalOf(c *convert.HostedCall) responses.Item {
	args := c.Call.Arguments.JSON()
	return responses.Item{
		Type: "mcp_approval_request", ID: "mcpr_" + l.options.Sealer.Mark(l.marked(c.Server, c.Name, args)),
		Name: c.Name, ServerLabel: c.Server, Arguments: responses.String(args),
	}
}

func (l *loop) marked(server, name, arguments string) string {
	return strings.Join([]string{l.owner, server, name, arguments}, "\x00")
}

// begin makes of the client's input what the upstream can read: calls of the
// gateway's tools become function calls, and those that the client has approved
// are run.
func (l *loop) begin() error {
	x := l.x
	if x.req.In == convert.Responses && len(x.req.Past) > 0 { // an answer to what was asked in a stored turn
		x.req.Canonical.Input = slices.Concat(x.req.Past, x.req.Canonical.Input)
		x.req.Past = []responses.Item{}
	}
	for _, item := range l.listings() {
		if err := l.splice.Put(item); err != nil {
			return err
		}
	}
	if x.req.In != convert.Responses {
		return nil
	}
	h := earlier{l: l, requests: map[string]*responses.Item{}, done: map[string]bool{}}
	return h.rewrite()
}

// earlier rewrites the items of earlier answers.
type earlier struct {
	l        *loop
	requests map[string]*responses.Item // approval requests by id
	done     map[string]bool            // those whose call is in the input
	out      []responses.Item
}

func (h *earlier) rewrite() error {
	x := h.l.x
	input := x.req.Canonical.Input
	answered := map[string]bool{}
	for i := range input {
		it := &input[i]
		switch it.Type {
		case "mcp_approval_request":
			if h.requests[it.ID] != nil {
				return badTool(fmt.Sprintf("input[%d]", i), "Duplicate item found with id %s. Remove duplicate items from your input and try again.", it.ID)
			}
			h.requests[it.ID] = it
		case "mcp_call":
			h.done[memberOf(it, "approval_request_id")] = true
		case "mcp_approval_response":
			answered[memberOf(it, "approval_request_id")] = true
		}
	}
	for i := range input {
		it := &input[i]
		known := h.l.knows(it.ServerLabel)
		switch {
		case it.Type == "mcp_list_tools" && known:
		case it.Type == "mcp_call" && known:
			h.call(it.ID, it, convert.MCPResult(it))
		case it.Type == "mcp_approval_request" && known:
			if !answered[it.ID] && !h.done[it.ID] {
				h.call(it.ID, it, "The user has not yet said whether this call may run.")
			}
		case it.Type == "mcp_approval_response":
			if err := h.response(it, fmt.Sprintf("input[%d]", i)); err != nil {
				return err
			}
		default:
			h.out = append(h.out, *it)
		}
	}
	x.req.Canonical.Input = h.out
	return nil
}

// knows tells whether a label is that of a server whose calls the gateway runs.
func (l *loop) knows(label string) bool {
	return slices.Contains(l.x.h.MCP.bridge.names, label) || l.x.req.More.Hosted[label]
}

// call adds both halves of a call.
func (h *earlier) call(id string, it *responses.Item, output string) {
	if id == "" {
		id = convert.NewID("call_")
	}
	h.out = append(h.out,
		responses.Item{Type: "function_call", CallID: id, Name: h.l.nameOf(it.ServerLabel, it.Name), Arguments: it.Arguments},
		responses.Item{Type: "function_call_output", CallID: id, Output: responses.String(output)})
}

// nameOf is the model's name for a tool. One that is not offered any more has one
// all the same: it was called.
func (l *loop) nameOf(server, tool string) string {
	for _, t := range l.tools {
		if t.Server == server && t.Original == tool {
			return t.Name
		}
	}
	return mcpbridge.Name(server, tool)
}

// response takes the client's answer to a request for its approval.
func (h *earlier) response(it *responses.Item, at string) error {
	l := h.l
	id := memberOf(it, "approval_request_id")
	ask := h.requests[id]
	switch {
	case ask == nil:
		return badTool(at+".approval_request_id", "No approval request found with id '%s'. Send the mcp_approval_request back with its mcp_approval_response.", id)
	case !l.knows(ask.ServerLabel):
		h.out = append(h.out, *it) // of a server of the upstream's
		return nil
	case h.done[id]:
		return nil
	}
	var answer struct {
		Approve bool   `json:"approve"`
		Reason  string `json:"reason"`
	}
	if json.Unmarshal(it.Unknown, &answer) != nil {
		return badTool(at+".approve", "Invalid '%s': 'approve' must be true or false.", at)
	}
	if !answer.Approve {
		text := "The user declined this call."
		if answer.Reason != "" {
			text = "The user declined this call: " + answer.Reason
		}
		h.call(id, ask, text)
		return nil
	}
	args := ask.Arguments.JSON()
	mark, ours := strings.CutPrefix(id, "mcpr_")
	if !ours || !l.options.Sealer.Marked(mark, l.marked(ask.ServerLabel, ask.Name, args)) {
		return badTool(at+".approval_request_id", "The approval request '%s' is not one that this gateway made for you with these arguments, or its secret has changed since.", id)
	}
	l.x.resp.keepAwake()
	o := l.session.Run(l.x.r.Context(), []mcpbridge.Call{{ID: id, Name: l.nameOf(ask.ServerLabel, ask.Name), Arguments: args}}, nil)[0]
	if l.x.r.Context().Err() != nil {
		return errGone
	}
	l.count(&o)
	h.call(id, ask, o.Text)
	return l.splice.Put(convert.MCPCall(l.options, convert.HostedTool{Server: ask.ServerLabel, Name: ask.Name}, args, o.Text, failureOf(&o), id))
}

// memberOf is a text member of an item that has no field of its own.
func memberOf(it *responses.Item, name string) string {
	if len(it.Unknown) == 0 {
		return ""
	}
	var object map[string]jsontext.Value
	var text string
	if json.Unmarshal(it.Unknown, &object) != nil || json.Unmarshal(object[name], &text) != nil {
		return ""
	}
	return text
}
