package chat2response

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/mcpbridge"
)

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
