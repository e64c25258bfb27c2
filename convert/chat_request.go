package convert

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

var chatMembers = memberNames[chat.Request]()

// ReadChat decodes the body of a Chat Completions request and checks what both
// APIs demand of it. Its errors are of type *[Error].
func ReadChat(body []byte) (*chat.Request, error) {
	req := new(chat.Request)
	if err := unmarshal(body, req); err != nil {
		return nil, err
	}
	if err := checkCase(req.Unknown, chatMembers, ""); err != nil {
		return nil, err
	}
	if req.Model == "" {
		return nil, invalid("", "model", "you must provide a model parameter")
	}
	if req.Messages == nil {
		return nil, missing("messages")
	}
	if len(req.Messages) == 0 {
		return nil, invalid("empty_array", "messages", "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	}
	for i := range req.Messages {
		m := &req.Messages[i]
		if err := checkCase(m.Unknown, messageMembers, fmt.Sprintf("messages[%d].", i)); err != nil {
			return nil, err
		}
		if m.Role == "" {
			return nil, missing(fmt.Sprintf("messages[%d].role", i))
		}
	}
	return req, nil
}

var messageMembers = memberNames[chat.Message]()

// chatOnly are the members of a Chat request for which Responses has no word.
// Those that change what the answer means are refused; the others are hints.
var chatOnly = []struct {
	param   string
	neutral func(*chat.Request) bool
	refuse  string // how to do without, for members that change the meaning
}{
	{"modalities", func(r *chat.Request) bool {
		return len(r.Modalities) == 0 || len(r.Modalities) == 1 && r.Modalities[0] == "text"
	}, "Audio output has no Responses equivalent; ask for text"},
	{"audio", func(r *chat.Request) bool { return !isSet(r.Audio) }, ""},
	{"n", func(r *chat.Request) bool { return r.N == nil || *r.N == 1 }, "Responses gives one answer; send the request once for each"},
	{"logit_bias", func(r *chat.Request) bool { return !isSet(r.LogitBias) || isEmptyObject(r.LogitBias) }, "Responses cannot bias tokens; remove it"},
	{"seed", func(r *chat.Request) bool { return r.Seed == nil }, ""},
	{"prediction", func(r *chat.Request) bool { return !isSet(r.Prediction) }, ""},
}

func isEmptyObject(v jsontext.Value) bool {
	for range eachMember(v) {
		return false
	}
	return v.Kind() == '{'
}

// ToResponses translates a Chat Completions request into a Responses request.
//
// Messages become items in their places: system messages are not moved to
// instructions, since that would change their order and OpenAI's check for the
// word "json". store is always written, because its default differs between the
// APIs, and so is a function's strict. Stop sequences, which Responses does not
// have, are reported; a [Turn] cuts the answer at them.
func ToResponses(req *chat.Request, o Options) (*responses.Request, Report, error) {
	var report Report
	out, err := toResponses(req, &o, &report)
	if err != nil {
		return nil, nil, err
	}
	if stops(req) != nil {
		report.add("stop", "not sent")
	}
	return out, report, nil
}

func toResponses(req *chat.Request, o *Options, report *Report) (*responses.Request, error) {
	for _, m := range chatOnly {
		if m.neutral(req) {
			continue
		}
		if m.refuse != "" {
			return nil, unsupported(m.param, "Unsupported parameter: '%s' cannot be carried over to the Responses API. %s.", m.param, m.refuse)
		}
		if err := report.hint(o, m.param, "the Responses API has no such parameter"); err != nil {
			return nil, err
		}
	}
	out, err := chatFields(req, o, report)
	if err != nil {
		return nil, err
	}
	if out.Input, err = chatItems(req, o, report); err != nil {
		return nil, err
	}
	return out, nil
}

// stops are the stop sequences of a request, without empty ones.
func stops(req *chat.Request) []string {
	var list []string
	for _, s := range req.Stop {
		if s != "" {
			list = append(list, s)
		}
	}
	return list
}

// chatFields translates all of a request but its messages.
func chatFields(req *chat.Request, o *Options, report *Report) (*responses.Request, error) {
	d := o.dialect()
	out := &responses.Request{
		Model:              req.Model,
		ParallelToolCalls:  req.ParallelToolCalls,
		Temperature:        req.Temperature,
		TopP:               req.TopP,
		Store:              new(bool),
		Stream:             req.Stream,
		Metadata:           optional(req.Metadata),
		User:               req.User,
		SafetyIdentifier:   req.SafetyIdentifier,
		PromptCacheKey:     req.PromptCacheKey,
		PromptCacheOptions: optional(req.PromptCacheOptions),
		CacheRetention:     req.CacheRetention,
		ServiceTier:        req.ServiceTier,
		Moderation:         optional(req.Moderation),
	}
	if o.Model != "" {
		out.Model = o.Model
	}
	if req.Store != nil {
		*out.Store = *req.Store
	}
	if req.FrequencyPenalty != nil && *req.FrequencyPenalty != 0 {
		out.FrequencyPenalty = req.FrequencyPenalty
	}
	if req.PresencePenalty != nil && *req.PresencePenalty != 0 {
		out.PresencePenalty = req.PresencePenalty
	}
	maxTokens, name := req.MaxCompletionTokens, "max_completion_tokens"
	if maxTokens == nil {
		maxTokens, name = req.MaxTokens, "max_tokens"
	}
	if maxTokens != nil {
		if *maxTokens < 1 {
			return nil, invalid("integer_below_min_value", name, "Invalid '%s': integer below minimum value. Expected a value >= 1, but got %d instead.", name, *maxTokens)
		}
		// Health probes ask for one token; an error would fail them.
		if *maxTokens < d.MinTokens {
			report.add(name, "raised to %d", d.MinTokens)
			maxTokens = &d.MinTokens
		}
		out.MaxOutputTokens = maxTokens
	}
	if req.Logprobs != nil && *req.Logprobs {
		out.Include = append(out.Include, "message.output_text.logprobs")
		out.TopLogprobs = req.TopLogprobs
	} else if req.TopLogprobs != nil && *req.TopLogprobs > 0 {
		return nil, invalid("invalid_value", "top_logprobs", "Invalid 'top_logprobs': it needs 'logprobs' to be true.")
	}
	if req.ReasoningEffort != "" {
		out.Reasoning = &responses.Reasoning{Effort: req.ReasoningEffort}
	}
	if req.Verbosity != "" {
		out.Text = &responses.TextConfig{Verbosity: req.Verbosity}
	}
	if err := chatFormat(req.ResponseFormat, out); err != nil {
		return nil, err
	}
	if s := req.StreamOptions; s != nil && s.IncludeObfuscation != nil && req.Stream != nil && *req.Stream {
		out.StreamOptions = &responses.StreamOptions{IncludeObfuscation: s.IncludeObfuscation}
	}
	if err := chatTools(req, o, report, out); err != nil {
		return nil, err
	}
	for param, value := range eachMember(req.Unknown) {
		if value.Kind() == 'n' {
			continue
		}
		// OpenRouter's way to say reasoning_effort.
		if param == "reasoning" && out.Reasoning == nil {
			var r responses.Reasoning
			if json.Unmarshal(value, &r) == nil && r.Effort != "" {
				out.Reasoning = &responses.Reasoning{Effort: r.Effort}
				continue
			}
		}
		if err := report.hint(o, param, "the Responses API has no such parameter"); err != nil {
			return nil, err
		}
	}
	if wantsEncrypted(req) {
		out.Include = append(out.Include, includeEncrypted)
	}
	return out, nil
}

const includeEncrypted = "reasoning.encrypted_content"

// wantsEncrypted tells whether to ask the upstream for encrypted reasoning, to be
// handed to the client as reasoning_details: only of a reasoning model, since
// OpenAI refuses to others what they have not.
func wantsEncrypted(req *chat.Request) bool {
	if req.Store != nil && *req.Store {
		return false
	}
	if req.ReasoningEffort != "" && req.ReasoningEffort != "none" {
		return true
	}
	for i := range req.Messages {
		for _, b := range req.Messages[i].ReasoningDetails {
			if b.Type == "reasoning.encrypted" {
				return true
			}
		}
	}
	return false
}

// optional is v, or nothing where v is null.
func optional(v jsontext.Value) jsontext.Value {
	if !isSet(v) {
		return nil
	}
	return v
}

func chatFormat(f *chat.ResponseFormat, out *responses.Request) error {
	if f == nil {
		return nil
	}
	to := &responses.TextFormat{Type: f.Type}
	switch f.Type {
	case "text":
		return nil
	case "json_object":
	case "json_schema":
		s := f.JSONSchema
		if s == nil {
			return missing("response_format.json_schema")
		}
		strict := s.Strict != nil && *s.Strict
		to.Name, to.Description, to.Schema, to.Strict = s.Name, s.Description, optional(s.Schema), &strict
	default:
		return invalid("invalid_value", "response_format.type", "Invalid value: '%s'. Supported values are: 'text', 'json_object' and 'json_schema'.", f.Type)
	}
	if out.Text == nil {
		out.Text = &responses.TextConfig{}
	}
	out.Text.Format = to
	return nil
}

func chatTools(req *chat.Request, o *Options, report *Report, out *responses.Request) error {
	for i, t := range req.Tools {
		at := fmt.Sprintf("tools[%d]", i)
		switch {
		case t.Type == "custom" && t.Custom != nil:
			tool := responses.Tool{Type: "custom", Name: t.Custom.Name, Description: t.Custom.Description}
			if f := t.Custom.Format; f != nil {
				tool.Format = &responses.Format{Type: f.Type}
				if f.Grammar != nil {
					tool.Format.Syntax, tool.Format.Definition = f.Grammar.Syntax, f.Grammar.Definition
				}
			}
			out.Tools = append(out.Tools, tool)
		case (t.Type == "function" || t.Type == "") && t.Function != nil:
			out.Tools = append(out.Tools, functionTool(t.Function))
		case t.Type == "function" || t.Type == "custom" || t.Type == "":
			if t.Type == "" {
				t.Type = "function"
			}
			return missing(at + "." + t.Type)
		default:
			return invalid("invalid_value", at+".type", "Invalid value: '%s'. Supported values are: 'function' and 'custom'.", t.Type)
		}
		name := out.Tools[len(out.Tools)-1].Name
		if name == "" {
			return missing(at + "." + out.Tools[len(out.Tools)-1].Type + ".name")
		}
	}
	legacy := len(out.Tools) == 0 && len(req.Functions) > 0
	if legacy {
		for i := range req.Functions {
			if req.Functions[i].Name == "" {
				return missing(fmt.Sprintf("functions[%d].name", i))
			}
			out.Tools = append(out.Tools, functionTool(&req.Functions[i]))
		}
		// An answer of this form has room for one call.
		out.ParallelToolCalls = new(bool)
	} else if len(req.Functions) > 0 {
		if err := report.hint(o, "functions", "tools is there too"); err != nil {
			return err
		}
	}
	if w := req.WebSearchOptions; w != nil {
		tool := responses.Tool{Type: "web_search", SearchContextSize: w.SearchContextSize}
		if w.UserLocation != nil {
			tool.UserLocation = flattenLocation(w.UserLocation.Approximate)
		}
		out.Tools = append(out.Tools, tool)
	}
	return chatToolChoice(req, o, report, legacy, out)
}

func functionTool(f *chat.Function) responses.Tool {
	strict := f.Strict != nil && *f.Strict
	params := optional(f.Parameters)
	if params == nil {
		params = jsontext.Value(`{"type":"object","properties":{}}`)
	}
	return responses.Tool{Type: "function", Name: f.Name, Description: f.Description, Parameters: params, Strict: &strict}
}

// flattenLocation lifts the members of approximate one level.
func flattenLocation(approximate jsontext.Value) jsontext.Value {
	b := []byte(`{"type":"approximate"`)
	for name, value := range eachMember(approximate) {
		if name == "type" {
			continue
		}
		b = append(appendQuoted(append(b, ','), name), ':')
		b = append(b, value...)
	}
	return append(b, '}')
}

func chatToolChoice(req *chat.Request, o *Options, report *Report, legacy bool, out *responses.Request) error {
	if legacy {
		switch c := req.FunctionCall; {
		case c == nil:
		case c.Mode != "":
			out.ToolChoice = &responses.ToolChoice{Word: c.Mode}
		default:
			out.ToolChoice = &responses.ToolChoice{Type: "function", Name: c.Name}
		}
		return nil
	}
	if req.FunctionCall != nil {
		if err := report.hint(o, "function_call", "it goes with functions, not with tools"); err != nil {
			return err
		}
	}
	c := req.ToolChoice
	if c == nil {
		return nil
	}
	if len(out.Tools) == 0 {
		if c.Mode == "none" || c.Mode == "auto" {
			return nil
		}
		return report.hint(o, "tool_choice", "there are no tools")
	}
	choice, err := chatChoice(c, "tool_choice")
	out.ToolChoice = choice
	return err
}

func chatChoice(c *chat.ToolChoice, at string) (*responses.ToolChoice, error) {
	switch {
	case c.Mode == "any": // Mistral's word
		return &responses.ToolChoice{Word: "required"}, nil
	case c.Mode == "none" || c.Mode == "auto" || c.Mode == "required":
		return &responses.ToolChoice{Word: c.Mode}, nil
	case c.Mode != "":
		return nil, invalid("invalid_value", at, "Invalid value: '%s'. Supported values are: 'none', 'auto' and 'required'.", c.Mode)
	case c.Type == "function" && c.Function != nil && c.Function.Name != "":
		return &responses.ToolChoice{Type: "function", Name: c.Function.Name}, nil
	case c.Type == "custom" && c.Custom != nil && c.Custom.Name != "":
		return &responses.ToolChoice{Type: "custom", Name: c.Custom.Name}, nil
	case c.Type == "allowed_tools" && c.AllowedTools != nil:
		out := &responses.ToolChoice{Type: "allowed_tools", Mode: c.AllowedTools.Mode}
		for i := range c.AllowedTools.Tools {
			t, err := chatChoice(&c.AllowedTools.Tools[i], fmt.Sprintf("%s.allowed_tools.tools[%d]", at, i))
			if err != nil {
				return nil, err
			}
			out.Tools = append(out.Tools, *t)
		}
		return out, nil
	case c.Type == "function" || c.Type == "custom":
		return nil, missing(at + "." + c.Type + ".name")
	case c.Type == "allowed_tools":
		return nil, missing(at + ".allowed_tools")
	}
	return nil, invalid("invalid_value", at+".type", "Invalid value: '%s'. Supported values are: 'function', 'custom' and 'allowed_tools'.", c.Type)
}

// chatItems translates the messages of a request.
func chatItems(req *chat.Request, o *Options, report *Report) (responses.Input, error) {
	x := chatReader{o: o, d: o.dialect(), report: report, custom: map[string]bool{}}
	for i := range req.Messages {
		if err := x.message(i, &req.Messages[i]); err != nil {
			return nil, err
		}
	}
	return x.items, nil
}

type chatReader struct {
	o      *Options
	d      *Dialect
	report *Report
	items  responses.Input

	custom map[string]bool // ids of calls of custom tools: their outputs are other items
	legacy []legacyCall    // calls of the deprecated form that wait for their output
}

type legacyCall struct{ name, id string }

func (x *chatReader) message(i int, m *chat.Message) error {
	at := fmt.Sprintf("messages[%d]", i)
	if m.Name != "" && m.Role != "function" && m.Role != "tool" {
		if err := x.report.hint(x.o, at+".name", "messages of the Responses API have no name"); err != nil {
			return err
		}
	}
	for name := range eachMember(m.Unknown) {
		if err := x.report.hint(x.o, at+"."+name, "messages of the Responses API have no such member"); err != nil {
			return err
		}
	}
	switch m.Role {
	case "system", "developer", "user":
		content, err := x.content(at+".content", m.Content)
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
		text, err := x.text(at+".content", m.Content)
		x.items = append(x.items, responses.Item{Type: typ, CallID: shortID(m.ToolCallID), Output: responses.String(text)})
		return err
	case "function":
		text, err := x.text(at+".content", m.Content)
		if err != nil {
			return err
		}
		for k := len(x.legacy) - 1; k >= 0; k-- {
			if x.legacy[k].name == m.Name {
				x.items = append(x.items, responses.Item{Type: "function_call_output", CallID: x.legacy[k].id, Output: responses.String(text)})
				x.legacy = append(x.legacy[:k], x.legacy[k+1:]...)
				return nil
			}
		}
		return invalid("invalid_value", at, "Invalid '%s': a message with role 'function' must follow an assistant message whose function_call has the name '%s'.", at, m.Name)
	}
	return invalid("invalid_value", at+".role", "Invalid value: '%s'. Supported values are: 'system', 'developer', 'user', 'assistant', 'tool' and 'function'.", m.Role)
}

func (x *chatReader) assistant(i int, at string, m *chat.Message) error {
	x.reasoning(m)
	if isSet(m.Audio) {
		if err := x.report.hint(x.o, at+".audio", "the Responses API has no audio answers"); err != nil {
			return err
		}
	}
	text, refusal, err := x.assistantText(at, m)
	if err != nil {
		return err
	}
	calls := len(m.ToolCalls) > 0 || m.FunctionCall != nil
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
		item, err := x.call(fmt.Sprintf("%s.tool_calls[%d]", at, j), &m.ToolCalls[j])
		if err != nil {
			return err
		}
		x.items = append(x.items, item)
	}
	if f := m.FunctionCall; f != nil && len(m.ToolCalls) == 0 {
		id := legacyID(i, f.Name, f.Arguments.JSON())
		x.legacy = append(x.legacy, legacyCall{f.Name, id})
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
	for j, p := range m.Content.Parts {
		switch p.Type {
		case "text":
			b.WriteString(p.Text)
		case "refusal":
			refusal += p.Refusal
		case "thinking": // Mistral's answers, sent back; reasoning has taken it
		default:
			return "", "", invalid("invalid_value", fmt.Sprintf("%s.content[%d].type", at, j), "Invalid value: '%s'. Supported values are: 'text' and 'refusal'.", p.Type)
		}
	}
	return b.String(), refusal, nil
}

func (x *chatReader) call(at string, c *chat.ToolCall) (responses.Item, error) {
	if c.ID == "" {
		return responses.Item{}, missing(at + ".id")
	}
	for name := range eachMember(c.Unknown) {
		if err := x.report.hint(x.o, at+"."+name, "calls of the Responses API have no such member"); err != nil {
			return responses.Item{}, err
		}
	}
	switch {
	case c.Type == "custom" && c.Custom != nil:
		x.custom[c.ID] = true
		return responses.Item{Type: "custom_tool_call", CallID: shortID(c.ID), Name: c.Custom.Name, Input: &c.Custom.Input}, nil
	case (c.Type == "function" || c.Type == "") && c.Function != nil:
		return responses.Item{
			Type: "function_call", CallID: shortID(c.ID), Name: c.Function.Name,
			Arguments: responses.String(orEmptyObject(c.Function.Arguments.JSON())),
		}, nil
	case c.Type == "function" || c.Type == "custom" || c.Type == "":
		return responses.Item{}, missing(at + ".function")
	}
	return responses.Item{}, invalid("invalid_value", at+".type", "Invalid value: '%s'. Supported values are: 'function' and 'custom'.", c.Type)
}

// reasoning puts the reasoning of an assistant message before it, in the form
// that the upstream takes. An item that OpenAI did not make itself is refused
// there, so only what is encrypted goes to it.
func (x *chatReader) reasoning(m *chat.Message) {
	if x.d.ReasoningItem == "encrypted" {
		for _, b := range m.ReasoningDetails {
			if b.Type == "reasoning.encrypted" && b.Data != "" {
				x.items = append(x.items, responses.Item{Type: "reasoning", ID: b.ID, Summary: []responses.Part{}, EncryptedContent: b.Data})
			}
		}
		return
	}
	text := messageReasoning(m)
	if text == "" || x.d.ReasoningItem == "" {
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

// content translates the content of a system, developer or user message.
func (x *chatReader) content(at string, c chat.Content) (responses.Content, error) {
	if c.IsText() || c.IsZero() {
		if c.IsZero() {
			return responses.Content{}, nil
		}
		return responses.Text(c.Text), nil
	}
	parts := make([]responses.Part, 0, len(c.Parts))
	for j := range c.Parts {
		p, err := x.part(fmt.Sprintf("%s[%d]", at, j), &c.Parts[j])
		if err != nil {
			return responses.Content{}, err
		}
		parts = append(parts, p)
	}
	return responses.Parts(parts...), nil
}

func (x *chatReader) part(at string, p *chat.Part) (responses.Part, error) {
	for name := range eachMember(p.Unknown) {
		if err := x.report.hint(x.o, at+"."+name, "parts of the Responses API have no such member"); err != nil {
			return responses.Part{}, err
		}
	}
	var out responses.Part
	switch p.Type {
	case "text":
		out = responses.InputText(p.Text)
	case "image_url":
		if p.ImageURL == nil || p.ImageURL.URL == "" {
			return out, missing(at + ".image_url")
		}
		out = responses.Part{Type: "input_image", ImageURL: p.ImageURL.URL, Detail: p.ImageURL.Detail}
		if out.Detail == "" {
			out.Detail = "auto" // required there
		}
	case "file":
		if p.File == nil {
			return out, missing(at + ".file")
		}
		out = responses.Part{Type: "input_file", FileID: p.File.FileID, FileData: p.File.FileData, Filename: p.File.Filename}
	case "input_audio":
		if !x.d.Audio {
			return out, unsupported(at, "Unsupported content part: '%s' is audio, which the upstream's Responses API does not take. Send text, images or files.", at)
		}
		out = responses.Part{Type: "input_audio", InputAudio: p.InputAudio}
	default:
		return out, invalid("invalid_value", at+".type", "Invalid value: '%s'. Supported values are: 'text', 'image_url', 'input_audio' and 'file'.", p.Type)
	}
	out.CacheBreakpoint = optional(p.CacheBreakpoint)
	return out, nil
}

// text is the content of a tool message: text parts are joined.
func (x *chatReader) text(at string, c chat.Content) (string, error) {
	if !c.IsZero() && !c.IsText() {
		var b strings.Builder
		for j, p := range c.Parts {
			if p.Type != "text" {
				return "", invalid("invalid_value", fmt.Sprintf("%s[%d].type", at, j), "Invalid value: '%s'. The content of a tool message has only 'text' parts.", p.Type)
			}
			b.WriteString(p.Text)
		}
		return b.String(), nil
	}
	return c.Text, nil
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
