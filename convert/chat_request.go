package convert

import (
	"bytes"
	"fmt"
	"strconv"

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
		if err := report.stray(o, "", param, "the Responses API has no such parameter"); err != nil {
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
