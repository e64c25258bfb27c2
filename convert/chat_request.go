package convert

import (
	"bytes"
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
		return nil, invalid("", "", "you must provide a model parameter")
	}
	if req.Messages == nil {
		return nil, missing("messages")
	}
	if len(req.Messages) == 0 {
		return nil, invalid("empty_array", "messages", "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	}
	for i := range req.Messages {
		m := &req.Messages[i]
		if len(m.Unknown) > 0 {
			if err := checkCase(m.Unknown, messageMembers, element("messages", i)+"."); err != nil {
				return nil, err
			}
		}
		if m.Role == "" {
			return nil, missing(element("messages", i) + ".role")
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
	refuse  string                             // how to do without, for members that change the meaning
	value   func(*chat.Request) jsontext.Value // for those that some Responses upstreams have nevertheless
}{
	{"modalities", func(r *chat.Request) bool {
		return len(r.Modalities) == 0 || len(r.Modalities) == 1 && r.Modalities[0] == "text"
	}, "Audio output has no Responses equivalent; ask for text", nil},
	{"audio", func(r *chat.Request) bool { return !isSet(r.Audio) }, "", nil},
	{"n", func(r *chat.Request) bool { return r.N == nil || *r.N == 1 }, "Responses gives one answer; send the request once for each", nil},
	{"logit_bias", func(r *chat.Request) bool { return !isSet(r.LogitBias) || isEmptyObject(r.LogitBias) }, "Responses cannot bias tokens; remove it",
		func(r *chat.Request) jsontext.Value { return r.LogitBias }},
	{"seed", func(r *chat.Request) bool { return r.Seed == nil }, "",
		func(r *chat.Request) jsontext.Value { return strconv.AppendInt(nil, *r.Seed, 10) }},
	{"prediction", func(r *chat.Request) bool { return !isSet(r.Prediction) }, "", nil},
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
		if err := report.change(&o, "stop", "not sent", "the Responses API has no such parameter"); err != nil {
			return nil, nil, err
		}
	}
	return out, report, nil
}

func toResponses(req *chat.Request, o *Options, report *Report) (*responses.Request, error) {
	var extras jsontext.Value
	for _, m := range chatOnly {
		if m.neutral(req) {
			continue
		}
		if m.value != nil && o.dialect().understands(m.param) {
			extras = withMember(extras, m.param, m.value(req))
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
	for name, value := range eachMember(extras) {
		out.Unknown = withMember(out.Unknown, name, value)
	}
	if out.Input, err = chatItems(req, o, report); err != nil {
		return nil, err
	}
	return out, nil
}

// withMember is a JSON object, or none, with a member added.
func withMember(object jsontext.Value, name string, value jsontext.Value) jsontext.Value {
	b := append([]byte(nil), bytes.TrimSuffix(object, []byte("}"))...)
	if len(b) == 0 {
		b = append(b, '{')
	}
	if len(b) > 1 {
		b = append(b, ',')
	}
	return append(append(append(appendQuoted(b, name), ':'), value...), '}')
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
	if isSet(req.Moderation) {
		if d.Moderation {
			out.Moderation = req.Moderation
		} else if err := report.hint(o, "moderation", "only OpenAI moderates"); err != nil {
			return nil, err
		}
	}
	maxTokens, name := req.MaxCompletionTokens, "max_completion_tokens"
	if maxTokens == nil {
		maxTokens, name = req.MaxTokens, "max_tokens"
	} else if req.MaxTokens != nil && *req.MaxTokens != *maxTokens {
		if err := report.hint(o, "max_tokens", "max_completion_tokens is there too"); err != nil {
			return nil, err
		}
	}
	if maxTokens != nil {
		if *maxTokens < 1 {
			return nil, invalid("integer_below_min_value", name, "Invalid '%s': integer below minimum value. Expected a value >= 1, but got %d instead.", name, *maxTokens)
		}
		// Health probes ask for one token; an error would fail them.
		if *maxTokens < d.MinTokens {
			if err := report.change(o, name, fmt.Sprintf("raised to %d", d.MinTokens), fmt.Sprintf("it takes %d or more", d.MinTokens)); err != nil {
				return nil, err
			}
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
	if err := chatFormat(req.ResponseFormat, o, report, out); err != nil {
		return nil, err
	}
	if s := req.StreamOptions; s != nil {
		if s.IncludeObfuscation != nil && or(req.Stream, false) {
			out.StreamOptions = &responses.StreamOptions{IncludeObfuscation: s.IncludeObfuscation}
		}
		if err := strays[chat.StreamOptions](report, o, "stream_options", s.Unknown); err != nil {
			return nil, err
		}
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
				if err := strays[responses.Reasoning](report, o, param, r.Unknown); err != nil {
					return nil, err
				}
				continue
			}
		}
		if d.understands(param) {
			out.Unknown = withMember(out.Unknown, param, value)
			continue
		}
		if err := report.hint(o, param, "the Responses API has no such parameter"); err != nil {
			return nil, err
		}
	}
	if d.ReasoningItem == "encrypted" && wantsEncrypted(req, out.Reasoning) {
		out.Include = append(out.Include, includeEncrypted)
	}
	return out, nil
}

const includeEncrypted = "reasoning.encrypted_content"

// wantsEncrypted tells whether to ask the upstream for encrypted reasoning, to be
// handed to the client as reasoning_details: only of a reasoning model, since
// OpenAI refuses to others what they have not.
func wantsEncrypted(req *chat.Request, reasoning *responses.Reasoning) bool {
	if req.Store != nil && *req.Store {
		return false
	}
	if reasoning != nil && reasoning.Effort != "none" {
		return true
	}
	for i := range req.Messages {
		for _, b := range req.Messages[i].ReasoningDetails {
			if isSealed(&b) {
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

func chatFormat(f *chat.ResponseFormat, o *Options, report *Report, out *responses.Request) error {
	if f == nil {
		return nil
	}
	if err := strays[chat.ResponseFormat](report, o, "response_format", f.Unknown); err != nil {
		return err
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
		switch {
		case s.Name == "":
			return missing("response_format.json_schema.name")
		case !isSet(s.Schema): // optional in Chat, required there
			return missing("response_format.json_schema.schema")
		}
		if err := strays[chat.JSONSchema](report, o, "response_format.json_schema", s.Unknown); err != nil {
			return err
		}
		strict := s.Strict != nil && *s.Strict
		to.Name, to.Description, to.Schema, to.Strict = s.Name, s.Description, s.Schema, &strict
	case "":
		return missing("response_format.type")
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
	for i := range req.Tools {
		tool, err := chatTool(element("tools", i), &req.Tools[i], o, report)
		if err != nil {
			return err
		}
		out.Tools = append(out.Tools, tool)
	}
	legacy := len(out.Tools) == 0 && len(req.Functions) > 0
	if legacy {
		for i := range req.Functions {
			at := element("functions", i)
			if req.Functions[i].Name == "" {
				return missing(at + ".name")
			}
			if err := strays[chat.Function](report, o, at, req.Functions[i].Unknown); err != nil {
				return err
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
		if err := strays[chat.WebSearchOptions](report, o, "web_search_options", w.Unknown); err != nil {
			return err
		}
		if w.UserLocation != nil {
			tool.UserLocation = flattenLocation(w.UserLocation.Approximate)
			if err := strays[chat.UserLocation](report, o, "web_search_options.user_location", w.UserLocation.Unknown); err != nil {
				return err
			}
		}
		out.Tools = append(out.Tools, tool)
	}
	return chatToolChoice(req, o, report, legacy, out)
}

func chatTool(at string, t *chat.Tool, o *Options, report *Report) (responses.Tool, error) {
	if err := strays[chat.Tool](report, o, at, t.Unknown); err != nil {
		return responses.Tool{}, err
	}
	switch t.Type {
	case "function", "": // some clients leave the type out
		f := t.Function
		if f == nil {
			return responses.Tool{}, missing(at + ".function")
		}
		if f.Name == "" {
			return responses.Tool{}, missing(at + ".function.name")
		}
		return functionTool(f), strays[chat.Function](report, o, at+".function", f.Unknown)
	case "custom":
		if t.Custom == nil {
			return responses.Tool{}, missing(at + ".custom")
		}
		return customTool(at+".custom", t.Custom, o, report)
	}
	return responses.Tool{}, invalid("invalid_value", at+".type", "Invalid value: '%s'. Supported values are: 'function' and 'custom'.", t.Type)
}

// customTool lifts the members of a grammar one level.
func customTool(at string, c *chat.Custom, o *Options, report *Report) (responses.Tool, error) {
	tool := responses.Tool{Type: "custom", Name: c.Name, Description: c.Description}
	if c.Name == "" {
		return tool, missing(at + ".name")
	}
	if err := strays[chat.Custom](report, o, at, c.Unknown); err != nil || c.Format == nil {
		return tool, err
	}
	tool.Format = &responses.Format{Type: c.Format.Type}
	if err := strays[chat.Format](report, o, at+".format", c.Format.Unknown); err != nil || c.Format.Grammar == nil {
		return tool, err
	}
	tool.Format.Syntax, tool.Format.Definition = c.Format.Grammar.Syntax, c.Format.Grammar.Definition
	return tool, strays[chat.Grammar](report, o, at+".format.grammar", c.Format.Grammar.Unknown)
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
		case c.Mode == "none" || c.Mode == "auto":
			out.ToolChoice = &responses.ToolChoice{Word: c.Mode}
		case c.Mode != "":
			return invalid("invalid_value", "function_call", "Invalid value: '%s'. Supported values are: 'none', 'auto' and an object with the function's name.", c.Mode)
		case c.Name == "":
			return missing("function_call.name")
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
	if err := strays[chat.ToolChoice](report, o, "tool_choice", c.Unknown); err != nil {
		return err
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
			t, err := chatChoice(&c.AllowedTools.Tools[i], element(at+".allowed_tools.tools", i))
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
