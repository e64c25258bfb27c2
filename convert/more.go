package convert

import (
	"slices"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// More is what a gateway adds to a client's request when it asks the upstream on
// its own account: tools that it runs itself, and what came of them.
type More struct {
	// Tools are functions that are offered beside the client's tools.
	Tools []responses.Tool
	// Items follow the client's input: what the upstream has answered before, and
	// what became of its calls.
	Items []responses.Item
	// Choice is the tool_choice in place of the client's: auto or none. Default: the
	// client's own.
	Choice string
	// ToolChoice is in the place of the client's where that names tools as the client
	// knows them. Default: the client's own.
	ToolChoice *responses.ToolChoice
	// Hosted are the labels of the client's tools of type mcp for which Tools stand.
	Hosted map[string]bool
	// MaxOutputTokens is what is left of the client's limit of tokens. Default: the
	// client's own.
	MaxOutputTokens *int64
}

// used tells whether anything is added, now or in later turns.
func (m *More) used() bool { return len(m.Tools) > 0 || len(m.Items) > 0 || len(m.Hosted) > 0 }

// asked is the client's Responses request with what came before it, and what is
// added to it.
func (t *Turn) asked() *responses.Request {
	if !t.req.More.used() {
		return t.whole()
	}
	req := *t.whole()
	t.req.More.add(&req)
	return &req
}

// add adds to a Responses request, without changing what it shares with another.
func (m *More) add(req *responses.Request) {
	tools := req.Tools
	if len(m.Hosted) > 0 {
		tools = slices.DeleteFunc(slices.Clone(tools), func(t responses.Tool) bool { return t.Type == "mcp" && m.Hosted[t.ServerLabel] })
	}
	req.Tools = append(slices.Clip(tools), m.Tools...)
	req.Input = append(slices.Clip(req.Input), m.Items...)
	if m.ToolChoice != nil {
		req.ToolChoice = m.ToolChoice
	}
	if m.Choice != "" {
		req.ToolChoice = later(req.ToolChoice, m.Choice)
	}
	req.MaxToolCalls = nil // the gateway counts
	if m.MaxOutputTokens != nil && req.MaxOutputTokens != nil {
		req.MaxOutputTokens = m.MaxOutputTokens
	}
}

// later is the tool_choice of a later turn: a list of allowed tools stays, while
// nothing is forced any more.
func later(c *responses.ToolChoice, word string) *responses.ToolChoice {
	if c != nil && c.Type == "allowed_tools" && word == "auto" {
		allowed := *c
		allowed.Mode = word
		return &allowed
	}
	return &responses.ToolChoice{Word: word}
}

// forResponses makes the added items such as a Responses upstream takes back. One
// that does not store the response needs the reasoning with its content, and
// refuses reasoning that it cannot read. A conversation of the upstream's has
// everything already but the outputs of the last calls.
func (m *More) forResponses(req *responses.Request, d *Dialect) {
	if len(m.Items) > 0 && req.Conversation != nil {
		last := len(m.Items)
		for last > 0 && m.Items[last-1].Type == "function_call_output" {
			last--
		}
		req.Input = m.Items[last:]
		return
	}
	if !m.used() || or(req.Store, true) {
		return
	}
	// Only of a reasoning model: OpenAI refuses to others what they have not.
	thinks := req.Reasoning != nil && req.Reasoning.Effort != "none"
	if thinks && d.ReasoningItem == "encrypted" && !slices.Contains(req.Include, includeEncrypted) {
		req.Include = append(slices.Clip(req.Include), includeEncrypted)
	}
	own := len(req.Input) - len(m.Items)
	req.Input = append(req.Input[:own:own], unstored(m.Items, d)...)
}

// unstored are items of earlier answers as an upstream takes them that has not stored
// them: without their ids, as it knows none of them, and without reasoning that it
// could only find there.
func unstored(items []responses.Item, d *Dialect) []responses.Item {
	out := make([]responses.Item, 0, len(items))
	for _, it := range items {
		if d.ReasoningItem == "encrypted" && it.Type == "reasoning" && it.EncryptedContent == "" {
			continue
		}
		if it.Type != "reasoning" {
			it.ID = ""
		}
		out = append(out, it)
	}
	return out
}

// addToChat adds to a Chat client's request for a Chat upstream.
func (t *Turn) addToChat(req *chat.Request) error {
	m := &t.req.More
	if !m.used() {
		return nil
	}
	d := t.o.dialect()
	req.Tools = slices.Clip(req.Tools)
	for _, tool := range m.Tools {
		t.names.add(tool.Name, toolRef{name: tool.Name})
		req.Tools = append(req.Tools, chat.Tool{Type: "function", Function: &chat.Function{
			Name: tool.Name, Description: tool.Description, Parameters: tool.Parameters,
		}})
	}
	switch {
	case m.Choice == "none" && d.AutoOnly:
		req.Tools, req.ToolChoice = nil, nil
	case m.Choice == "auto" && req.ToolChoice != nil && req.ToolChoice.Type == "allowed_tools" && req.ToolChoice.AllowedTools != nil:
		allowed := *req.ToolChoice.AllowedTools
		allowed.Mode = m.Choice
		req.ToolChoice = &chat.ToolChoice{Type: "allowed_tools", AllowedTools: &allowed}
	case m.Choice == "auto" && req.ToolChoice == nil:
	case m.Choice != "":
		req.ToolChoice = &chat.ToolChoice{Mode: m.Choice}
	}
	if left := m.MaxOutputTokens; left != nil {
		if req.MaxTokens != nil {
			req.MaxTokens = left
		}
		if req.MaxCompletionTokens != nil {
			req.MaxCompletionTokens = left
		}
	}
	if len(m.Items) == 0 {
		return nil
	}
	messages, err := Messages(m.Items, t.o)
	req.Messages = append(slices.Clip(req.Messages), messages...)
	return err
}

// Messages are items of an answer, and the outputs of its calls, as messages for a
// Chat upstream.
func Messages(items []responses.Item, o Options) ([]chat.Message, error) {
	var ignored Report
	o.Strict = false
	out, err := toChat(&responses.Request{Model: "-", Input: items}, &o, &ignored, &Names{})
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

// Tools are the names of the tools that the client brings.
func (r *Request) Tools() []string {
	var names []string
	for i := range r.Canonical.Tools {
		t := &r.Canonical.Tools[i]
		names = append(names, t.Name)
		for k := range t.Tools {
			names = append(names, flatName(t.Name, t.Tools[k].Name))
		}
	}
	if r.chat != nil {
		for i := range r.chat.Tools {
			if t := &r.chat.Tools[i]; t.Function != nil || t.Custom != nil {
				names = append(names, toolName(t))
			}
		}
		for i := range r.chat.Functions {
			names = append(names, r.chat.Functions[i].Name)
		}
	}
	return names
}

// Chat is the request of a Chat client, nil for others.
func (r *Request) Chat() *chat.Request { return r.chat }
