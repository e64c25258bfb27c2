package convert

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// chatItems translates the messages of a request.
func chatItems(req *chat.Request, o *Options, report *Report) (responses.Input, error) {
	x := chatReader{o: o, d: o.dialect(), report: report, custom: map[string]bool{}, legacy: map[string][]string{}}
	n := len(req.Messages)
	for i := range req.Messages {
		n += len(req.Messages[i].ToolCalls)
	}
	x.items = make(responses.Input, 0, n)
	for i := range req.Messages {
		if err := x.message(i, &req.Messages[i]); err != nil {
			return nil, err
		}
	}
	if x.forgotten > 0 {
		report.add("messages", "reasoning of %d messages dropped", x.forgotten)
	}
	return x.items, nil
}

type chatReader struct {
	o      *Options
	d      *Dialect
	report *Report
	items  responses.Input

	custom map[string]bool     // ids of calls of custom tools: their outputs are other items
	legacy map[string][]string // ids of calls of the deprecated form that wait for their output, by name

	forgotten int // messages whose reasoning the upstream cannot take
}

func (x *chatReader) message(i int, m *chat.Message) error {
	at := element("messages", i)
	if m.Name != "" && m.Role != "function" && m.Role != "tool" {
		if err := x.report.hint(x.o, at+".name", "messages of the Responses API have no name"); err != nil {
			return err
		}
	}
	if err := strays[chat.Message](x.report, x.o, at, m.Unknown); err != nil {
		return err
	}
	if err := x.misplaced(at, m); err != nil {
		return err
	}
	switch m.Role {
	case "system", "developer", "user":
		content, err := x.content(at, m.Content)
		if err != nil {
			return err
		}
		if content.IsZero() {
			return missing(at + ".content")
		}
		x.items = append(x.items, responses.Item{Type: "message", Role: m.Role, Content: content})
		return nil
	case "assistant":
		return x.assistant(i, at, m)
	case "tool":
		if m.ToolCallID == "" {
			return missing(at + ".tool_call_id")
		}
		typ := "function_call_output"
		if x.custom[m.ToolCallID] {
			typ = "custom_tool_call_output"
		}
		output, err := x.output(at, m.Content)
		x.items = append(x.items, responses.Item{Type: typ, CallID: shortID(m.ToolCallID), Output: output})
		return err
	case "function":
		if m.Name == "" {
			return missing(at + ".name")
		}
		output, err := x.output(at, m.Content)
		if err != nil {
			return err
		}
		if ids := x.legacy[m.Name]; len(ids) > 0 {
			last := len(ids) - 1
			x.items = append(x.items, responses.Item{Type: "function_call_output", CallID: ids[last], Output: output})
			x.legacy[m.Name] = ids[:last]
			return nil
		}
		return invalid("invalid_value", at, "Invalid '%s': a message with role 'function' must follow an assistant message whose function_call has the name '%s'.", at, m.Name)
	}
	return invalid("invalid_value", at+".role", "Invalid value: '%s'. Supported values are: 'system', 'developer', 'user', 'assistant', 'tool' and 'function'.", m.Role)
}

// misplaced leaves out the members that messages of this role do not have.
func (x *chatReader) misplaced(at string, m *chat.Message) error {
	assistant := m.Role == "assistant"
	for _, member := range []struct {
		name string
		set  bool
	}{
		{"tool_calls", len(m.ToolCalls) > 0 && !assistant},
		{"function_call", m.FunctionCall != nil && !assistant},
		{"refusal", m.Refusal != "" && !assistant},
		{"audio", isSet(m.Audio) && !assistant},
		{"reasoning_content", or(m.ReasoningContent, "") != "" && !assistant},
		{"reasoning", or(m.Reasoning, "") != "" && !assistant},
		{"reasoning_details", len(m.ReasoningDetails) > 0 && !assistant},
		{"tool_call_id", m.ToolCallID != "" && m.Role != "tool"},
	} {
		if !member.set {
			continue
		}
		if err := x.report.hint(x.o, at+"."+member.name, "messages of the role "+m.Role+" have no such member"); err != nil {
			return err
		}
	}
	return nil
}

func (x *chatReader) assistant(i int, at string, m *chat.Message) error {
	x.reasoning(m)
	text, refusal, err := x.assistantText(at, m)
	if err != nil {
		return err
	}
	calls := len(m.ToolCalls) > 0 || m.FunctionCall != nil
	if isSet(m.Audio) {
		if text == "" && refusal == "" && !calls { // all that was said
			return unsupported(at+".audio", "Unsupported parameter: '%s.audio'. The Responses API has no audio answers; send the transcript as 'content'.", at)
		}
		if err := x.report.hint(x.o, at+".audio", "the Responses API has no audio answers"); err != nil {
			return err
		}
	}
	if m.FunctionCall != nil && len(m.ToolCalls) > 0 {
		if err := x.report.hint(x.o, at+".function_call", "tool_calls is there too"); err != nil {
			return err
		}
	}
	switch {
	case refusal != "":
		parts := []responses.Part{}
		if text != "" {
			parts = append(parts, responses.OutputText(text))
		}
		x.items = append(x.items, responses.Item{Type: "message", Role: "assistant", Content: responses.Parts(append(parts, responses.Refusal(refusal))...)})
	case text != "" || !calls: // an empty turn keeps the alternation of turns
		x.items = append(x.items, responses.Item{Type: "message", Role: "assistant", Content: responses.Text(text)})
	}
	for j := range m.ToolCalls {
		item, err := x.call(element(at+".tool_calls", j), &m.ToolCalls[j])
		if err != nil {
			return err
		}
		x.items = append(x.items, item)
	}
	if f := m.FunctionCall; f != nil && len(m.ToolCalls) == 0 {
		if f.Name == "" {
			return missing(at + ".function_call.name")
		}
		if err := strays[chat.FunctionCall](x.report, x.o, at+".function_call", f.Unknown); err != nil {
			return err
		}
		id := legacyID(i, f.Name, f.Arguments.JSON())
		x.legacy[f.Name] = append(x.legacy[f.Name], id)
		x.items = append(x.items, responses.Item{Type: "function_call", CallID: id, Name: f.Name, Arguments: responses.String(orEmptyObject(f.Arguments.JSON()))})
	}
	return nil
}

func (x *chatReader) assistantText(at string, m *chat.Message) (text, refusal string, err error) {
	refusal = m.Refusal
	if m.Content.IsText() {
		return m.Content.Text, refusal, nil
	}
	var b strings.Builder
	for j := range m.Content.Parts {
		p := &m.Content.Parts[j]
		if err := x.partHints(element(at+".content", j), p); err != nil {
			return "", "", err
		}
		switch p.Type {
		case "text":
			b.WriteString(p.Text)
		case "refusal":
			refusal += p.Refusal
		case "thinking": // Mistral's answers, sent back; reasoning has taken it
		default:
			return "", "", invalid("invalid_value", element(at+".content", j)+".type", "Invalid value: '%s'. Supported values are: 'text' and 'refusal'.", p.Type)
		}
	}
	return b.String(), refusal, nil
}

func (x *chatReader) call(at string, c *chat.ToolCall) (responses.Item, error) {
	if c.ID == "" {
		return responses.Item{}, missing(at + ".id")
	}
	if err := strays[chat.ToolCall](x.report, x.o, at, c.Unknown); err != nil {
		return responses.Item{}, err
	}
	switch c.Type {
	case "custom":
		if c.Custom == nil || c.Custom.Name == "" {
			return responses.Item{}, missing(at + ".custom.name")
		}
		x.custom[c.ID] = true
		return responses.Item{Type: "custom_tool_call", CallID: shortID(c.ID), Name: c.Custom.Name, Input: &c.Custom.Input},
			strays[chat.CustomCall](x.report, x.o, at+".custom", c.Custom.Unknown)
	case "function", "":
		if c.Function == nil || c.Function.Name == "" {
			return responses.Item{}, missing(at + ".function.name")
		}
		return responses.Item{
			Type: "function_call", CallID: shortID(c.ID), Name: c.Function.Name,
			Arguments: responses.String(orEmptyObject(c.Function.Arguments.JSON())),
		}, strays[chat.FunctionCall](x.report, x.o, at+".function", c.Function.Unknown)
	}
	return responses.Item{}, invalid("invalid_value", at+".type", "Invalid value: '%s'. Supported values are: 'function' and 'custom'.", c.Type)
}

// reasoning puts the reasoning of an assistant message before it, in the form
// that the upstream takes. An item that OpenAI did not make itself is refused
// there, so only what is encrypted goes to it.
func (x *chatReader) reasoning(m *chat.Message) {
	text := messageReasoning(m)
	if x.d.ReasoningItem == "encrypted" {
		before := len(x.items)
		for _, b := range m.ReasoningDetails {
			if isSealed(&b) {
				x.items = append(x.items, responses.Item{Type: "reasoning", ID: b.ID, Summary: []responses.Part{}, EncryptedContent: b.Data})
			}
		}
		if text != "" && len(x.items) == before {
			x.forgotten++
		}
		return
	}
	if text == "" {
		return
	}
	if x.d.ReasoningItem == "" {
		x.forgotten++
		return
	}
	item := responses.Item{Type: "reasoning", Summary: []responses.Part{}}
	if x.d.ReasoningItem == "summary" {
		item.Summary = []responses.Part{responses.SummaryText(text)}
	} else {
		item.Content = responses.Parts(responses.ReasoningText(text))
	}
	x.items = append(x.items, item)
}

// isSealed tells of a block that a Responses upstream made: its id is that of a
// reasoning item. Blocks of other makers are refused there.
func isSealed(b *chat.ReasoningBlock) bool {
	return b.Type == "reasoning.encrypted" && b.Data != "" && strings.HasPrefix(b.ID, "rs_")
}

// messageReasoning is the reasoning text of an assistant message, under
// whichever of its names.
func messageReasoning(m *chat.Message) string {
	if m.ReasoningContent != nil && *m.ReasoningContent != "" {
		return *m.ReasoningContent
	}
	if m.Reasoning != nil && *m.Reasoning != "" {
		return *m.Reasoning
	}
	var b strings.Builder
	for _, block := range m.ReasoningDetails {
		b.WriteString(block.Text + block.Summary)
	}
	for _, p := range m.Content.Parts {
		if p.Type == "thinking" {
			b.WriteString(thinkingText(p.Thinking))
		}
	}
	return b.String()
}

// thinkingText is the text of a thinking part: a string, or a list of text parts.
func thinkingText(v jsontext.Value) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(v, &parts) != nil {
		return ""
	}
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// content translates the content of a system, developer or user message at a place.
func (x *chatReader) content(at string, c chat.Content) (responses.Content, error) {
	if c.IsText() || c.IsZero() {
		if c.IsZero() {
			return responses.Content{}, nil
		}
		return responses.Text(c.Text), nil
	}
	parts := make([]responses.Part, 0, len(c.Parts))
	for j := range c.Parts {
		p, err := x.part(element(at+".content", j), &c.Parts[j])
		if err != nil {
			return responses.Content{}, err
		}
		parts = append(parts, p)
	}
	return responses.Parts(parts...), nil
}

// partHints leaves out what only hints in a part whose text is joined with others.
func (x *chatReader) partHints(at string, p *chat.Part) error {
	if isSet(p.CacheBreakpoint) {
		if err := x.report.hint(x.o, at+".prompt_cache_breakpoint", "its text is joined with that of other parts"); err != nil {
			return err
		}
	}
	return strays[chat.Part](x.report, x.o, at, p.Unknown)
}

func (x *chatReader) part(at string, p *chat.Part) (responses.Part, error) {
	var out responses.Part
	switch p.Type {
	case "text":
		out = responses.InputText(p.Text)
	case "image_url":
		if p.ImageURL == nil || p.ImageURL.URL == "" {
			return out, missing(at + ".image_url.url")
		}
		if err := strays[chat.ImageURL](x.report, x.o, at+".image_url", p.ImageURL.Unknown); err != nil {
			return out, err
		}
		out = responses.Part{Type: "input_image", ImageURL: p.ImageURL.URL, Detail: p.ImageURL.Detail}
		if out.Detail == "" {
			out.Detail = "auto" // required there
		}
	case "file":
		if p.File == nil {
			return out, missing(at + ".file")
		}
		if err := strays[chat.File](x.report, x.o, at+".file", p.File.Unknown); err != nil {
			return out, err
		}
		out = responses.Part{Type: "input_file", FileID: p.File.FileID, FileData: p.File.FileData, Filename: p.File.Filename}
	case "input_audio":
		if !x.d.Audio {
			return out, unsupported(at, "Unsupported content part: '%s' is audio, which the upstream's Responses API does not take. Send text, images or files.", at)
		}
		out = responses.Part{Type: "input_audio", InputAudio: p.InputAudio}
	case "":
		return out, missing(at + ".type")
	default:
		return out, invalid("invalid_value", at+".type", "Invalid value: '%s'. Supported values are: 'text', 'image_url', 'input_audio' and 'file'.", p.Type)
	}
	out.CacheBreakpoint = optional(p.CacheBreakpoint)
	return out, strays[chat.Part](x.report, x.o, at, p.Unknown)
}

// output is the content of a tool message at a place. Text parts are joined, which every
// server takes; with images among them, which OpenAI's Chat does not take and
// others do, they stay a list.
func (x *chatReader) output(at string, c chat.Content) (responses.Value, error) {
	if c.IsText() {
		return responses.String(c.Text), nil
	}
	var text strings.Builder
	parts := make([]responses.Part, len(c.Parts))
	onlyText := true
	for j := range c.Parts {
		p, here := &c.Parts[j], element(at+".content", j)
		var err error
		if p.Type == "text" {
			text.WriteString(p.Text)
			err = x.partHints(here, p)
			parts[j] = responses.InputText(p.Text)
		} else {
			onlyText = false
			parts[j], err = x.part(here, p)
		}
		if err != nil {
			return responses.Value{}, err
		}
	}
	if onlyText {
		return responses.String(text.String()), nil
	}
	list, err := json.Marshal(parts)
	return responses.Raw(list), err
}

func orEmptyObject(arguments string) string {
	if strings.TrimSpace(arguments) == "" {
		return "{}"
	}
	return arguments
}

// shortID is a call id of at most 64 characters, OpenAI's limit. Longer ones
// are replaced by a hash, the same for a call and its output.
func shortID(id string) string {
	if len(id) <= 64 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "call_" + hex.EncodeToString(sum[:16])
}

// legacyID makes the id that a call of the deprecated form does not have. It is
// the same each time the history is sent, so that prompt caches still match.
func legacyID(position int, name, arguments string) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(position) + "\x00" + name + "\x00" + arguments))
	return "call_" + hex.EncodeToString(sum[:12])
}
