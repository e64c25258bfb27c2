package convert

import (
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

var (
	responsesMembers = memberNames[responses.Request]()
	itemMembers      = memberNames[responses.Item]()
)

// ReadResponses decodes the body of a Responses request and checks what both
// APIs demand of it. Its errors are of type *[Error].
func ReadResponses(body []byte) (*responses.Request, error) {
	req := new(responses.Request)
	if err := unmarshal(body, req); err != nil {
		return nil, err
	}
	if err := checkCase(req.Unknown, responsesMembers, ""); err != nil {
		return nil, err
	}
	for i := range req.Input {
		if unknown := req.Input[i].Unknown; len(unknown) > 0 {
			if err := checkCase(unknown, itemMembers, element("input", i)+"."); err != nil {
				return nil, err
			}
		}
	}
	for name, value := range eachMember(req.Unknown) {
		if value.Kind() == 'n' {
			continue
		}
		if instead, ok := chatNames[name]; ok {
			return nil, movedName(name, instead)
		}
	}
	if req.Model == "" && !isSet(req.Prompt) {
		return nil, noModel(body)
	}
	if req.PreviousResponseID != "" && req.Conversation != nil {
		return nil, invalid("mutually_exclusive_parameters", "previous_response_id", "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Send only one of them.")
	}
	if len(req.Input) == 0 && req.PreviousResponseID == "" && req.Conversation == nil && !isSet(req.Prompt) {
		if req.Input == nil {
			if isNull(body, "input") {
				return nil, invalid("invalid_type", "input", "Invalid type for 'input': expected a string or an array of input items, but got null instead.")
			}
			return nil, missing("input")
		}
		return nil, invalid("missing_required_parameter", "input", `One of "input" or "previous_response_id" or 'prompt' or 'conversation' must be provided.`)
	}
	return req, nil
}

// noModel tells apart the ways of naming no model, as OpenAI's servers do.
func noModel(body []byte) *Error {
	var has struct {
		Model jsontext.Value `json:"model"`
	}
	if json.Unmarshal(body, &has) != nil || has.Model == nil {
		return missing("model")
	}
	if has.Model.Kind() == 'n' {
		return invalid("invalid_type", "model", "Invalid type for 'model': expected a string, but got null instead.")
	}
	return invalid("model_not_found", "model", "The requested model '' does not exist.")
}

// isNull tells whether a member of the body is null: elsewhere that is the same as
// absent.
func isNull(body []byte, member string) bool {
	for name, value := range eachMember(body) {
		if name == member {
			return value.Kind() == 'n'
		}
	}
	return false
}

// movedName is OpenAI's answer to a parameter of Chat; it has a longer one for
// those that are asked for most.
func movedName(name, instead string) *Error {
	if name == "messages" || name == "response_format" || name == "reasoning_effort" {
		return unsupported(name, "Unsupported parameter: '%s'. In the Responses API, this parameter has moved to '%s'. Try again with the new parameter.", name, instead)
	}
	return invalid("unknown_parameter", name, "Unknown parameter: '%s'. In the Responses API it is '%s'.", name, instead)
}

// chatNames are members of Chat that clients send to Responses by mistake, and
// where they are there.
var chatNames = map[string]string{
	"messages":              "input",
	"response_format":       "text.format",
	"max_tokens":            "max_output_tokens",
	"max_completion_tokens": "max_output_tokens",
	"reasoning_effort":      "reasoning.effort",
	"functions":             "tools",
	"function_call":         "tool_choice",
}

// chatExtensions are members that neither Responses nor OpenAI's Chat knows, or
// only Chat does, and that servers of open models understand. They are passed
// on to a Chat upstream.
var chatExtensions = map[string]bool{
	"seed": true, "stop": true, "logit_bias": true, "logprobs": true, "n": true,

	"top_k": true, "top_a": true, "min_p": true, "typical_p": true, "repetition_penalty": true, "length_penalty": true,
	"min_tokens": true, "stop_token_ids": true, "ignore_eos": true, "skip_special_tokens": true, "bad_words": true,
	"mirostat": true, "mirostat_eta": true, "mirostat_tau": true, "random_seed": true, "priority": true,
	"guided_json": true, "guided_regex": true, "guided_choice": true, "guided_grammar": true, "structured_outputs": true, "grammar": true,
	"chat_template": true, "chat_template_kwargs": true, "add_generation_prompt": true, "documents": true,
	"enable_thinking": true, "thinking": true, "thinking_budget": true, "think": true, "reasoning_format": true,
	"reasoning_budget": true, "separate_reasoning": true, "include_reasoning": true, "prompt_mode": true, "safe_prompt": true,
	"keep_alive": true, "options": true, "num_ctx": true, "cache_prompt": true, "id_slot": true,
	"provider": true, "models": true, "route": true, "transforms": true, "plugins": true, "search_parameters": true,
	"extra_body": true, "cache_control": true,
}

// ToChat translates a Responses request into a Chat Completions request. The
// names say which tool of the request a function of the answer stands for.
//
// The request must hold its whole history: previous_response_id, conversation
// and item references are errors here.
func ToChat(req *responses.Request, o Options) (*chat.Request, *Names, Report, error) {
	var report Report
	names := &Names{}
	out, err := toChat(req, &o, &report, names)
	if err != nil {
		return nil, nil, nil, err
	}
	return out, names, report, nil
}

func toChat(req *responses.Request, o *Options, report *Report, names *Names) (*chat.Request, error) {
	d := o.dialect()
	if err := refuseState(req); err != nil {
		return nil, err
	}
	summarizes := compacts(req.Input)
	if summarizes {
		var err error
		if req, err = toSummarize(req, o); err != nil {
			return nil, err
		}
	}
	tools := &toolWriter{o: o, d: d, report: report, names: names, model: req.Model}
	if o.Model != "" {
		tools.model = o.Model
	}
	if err := tools.add("tools", req.Tools); err != nil {
		return nil, err
	}
	items := &itemReader{
		o: o, d: d, report: report, tools: tools,
		owner: map[string]*turn{}, names: map[string]string{}, byItem: map[string]string{}, byName: map[string][]string{}, signatures: map[string]jsontext.Value{},
	}
	if err := items.read(req.Input); err != nil {
		return nil, err
	}
	reasoning, text := items.configured(req)
	out, err := chatParams(req, reasoning, text, o, report)
	if err != nil {
		return nil, err
	}
	if out.ToolChoice, err = tools.choice(req.ToolChoice); err != nil {
		return nil, err
	}
	if !summarizes { // nor those of the input's items
		out.Tools, out.WebSearchOptions = tools.out, tools.search
	}
	if len(out.Tools) > 0 {
		out.ParallelToolCalls = req.ParallelToolCalls
	}
	allTurns := d.ReasoningAlways || reasoning != nil && reasoning.Context == "all_turns"
	if out.Messages, err = items.messages(req.Instructions, allTurns); err != nil {
		return nil, err
	}
	if len(out.Messages) == 0 {
		return nil, invalid("invalid_value", "input", "Invalid 'input': it holds no message.")
	}
	return out, nil
}

// refuseState refuses what needs a memory, which this package does not have.
func refuseState(req *responses.Request) error {
	switch {
	case req.PreviousResponseID != "":
		return invalid("previous_response_not_found", "previous_response_id", "Previous response with id '%s' not found.", req.PreviousResponseID)
	case req.Conversation != nil:
		return &Error{Status: 404, Type: "invalid_request_error", Param: "conversation", Message: "Conversation with id '" + req.Conversation.ID + "' not found."}
	case isSet(req.Prompt):
		var prompt struct {
			ID string `json:"id"`
		}
		if err := unmarshalMember("prompt", req.Prompt, &prompt); err != nil {
			return err
		}
		return &Error{Status: 404, Type: "invalid_request_error", Param: "prompt", Message: "Prompt with id '" + prompt.ID + "' not found. Stored prompts are not available: the upstream speaks Chat Completions. Send the prompt's text in 'instructions' or 'input'."}
	case req.Background != nil && *req.Background:
		return unsupported("background", "Unsupported parameter: 'background'. This upstream answers only while the client waits; use 'stream'.")
	}
	return nil
}

// chatParams translates all of a request but its items and tools.
func chatParams(req *responses.Request, reasoning *responses.Reasoning, text *responses.TextConfig, o *Options, report *Report) (*chat.Request, error) {
	d := o.dialect()
	out := &chat.Request{
		Model:            req.Model,
		Temperature:      req.Temperature,
		TopP:             req.TopP,
		FrequencyPenalty: req.FrequencyPenalty,
		PresencePenalty:  req.PresencePenalty,
		Stream:           req.Stream,
	}
	if o.Model != "" {
		out.Model = o.Model
	}
	if req.MaxOutputTokens != nil {
		if *req.MaxOutputTokens < 1 {
			return nil, invalid("integer_below_min_value", "max_output_tokens", "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 1, but got %d instead.", *req.MaxOutputTokens)
		}
		if d.MaxTokens == "max_tokens" {
			out.MaxTokens = req.MaxOutputTokens
		} else {
			out.MaxCompletionTokens = req.MaxOutputTokens
		}
	}
	if req.MaxToolCalls != nil && *req.MaxToolCalls < 1 {
		return nil, invalid("integer_below_min_value", "max_tool_calls", "Invalid 'max_tool_calls': integer below minimum value. Expected a value >= 1, but got %d instead.", *req.MaxToolCalls)
	}
	if req.Stream != nil && *req.Stream && !d.NoUsage {
		yes := true
		out.StreamOptions = &chat.StreamOptions{IncludeUsage: &yes}
	}
	if wantsLogprobs(req) {
		yes := true
		out.Logprobs, out.TopLogprobs = &yes, req.TopLogprobs
		if d.NoLogprobs {
			out.Logprobs, out.TopLogprobs = nil, nil
			if err := report.hint(o, "top_logprobs", "it has no such parameter"); err != nil {
				return nil, err
			}
		}
	}
	if err := samplingHints(out, d, o, report); err != nil {
		return nil, err
	}
	if err := textParams(text, out, d, o, report); err != nil {
		return nil, err
	}
	if err := reasoningParams(reasoning, out, d, o, report); err != nil {
		return nil, err
	}
	if err := openAIMembers(req, out, d, o, report); err != nil {
		return nil, err
	}
	return out, unknownMembers(req, out, d, o, report)
}

func wantsLogprobs(req *responses.Request) bool {
	return req.TopLogprobs != nil && *req.TopLogprobs > 0 || slices.Contains(req.Include, "message.output_text.logprobs")
}

func reasoningParams(r *responses.Reasoning, out *chat.Request, d *Dialect, o *Options, report *Report) error {
	if r == nil {
		return nil
	}
	if r.Effort != "" {
		out.ReasoningEffort = d.effort(r.Effort)
		what := "changed to " + out.ReasoningEffort
		if out.ReasoningEffort == "" {
			what = "dropped"
		}
		if out.ReasoningEffort != r.Effort {
			if err := report.change(o, "reasoning.effort", what, "it does not know "+r.Effort); err != nil {
				return err
			}
		}
	}
	// The summary says in which form the client sees reasoning, the context how
	// much of it goes back; both are this program's to do.
	if r.Mode != "" && r.Mode != "standard" {
		if err := report.hint(o, "reasoning.mode", "it has no such parameter"); err != nil {
			return err
		}
	}
	return strays[responses.Reasoning](report, o, "reasoning", r.Unknown)
}

// samplingHints removes what the upstream would refuse.
func samplingHints(out *chat.Request, d *Dialect, o *Options, report *Report) error {
	for _, p := range []struct {
		name    string
		value   **float64
		drop    bool
		neutral float64
	}{
		{"temperature", &out.Temperature, d.NoSampling, 1},
		{"top_p", &out.TopP, d.NoSampling, 1},
		{"frequency_penalty", &out.FrequencyPenalty, d.NoSampling || d.NoPenalties, 0},
		{"presence_penalty", &out.PresencePenalty, d.NoSampling || d.NoPenalties, 0},
	} {
		if !p.drop || *p.value == nil {
			continue
		}
		neutral := **p.value == p.neutral
		*p.value = nil
		if neutral {
			continue
		}
		if err := report.hint(o, p.name, "it refuses the parameter"); err != nil {
			return err
		}
	}
	return nil
}

func textParams(text *responses.TextConfig, out *chat.Request, d *Dialect, o *Options, report *Report) error {
	if text == nil {
		return nil
	}
	if err := strays[responses.TextConfig](report, o, "text", text.Unknown); err != nil {
		return err
	}
	if text.Verbosity != "" {
		if d.knows("verbosity") {
			out.Verbosity = text.Verbosity
		} else if err := report.hint(o, "text.verbosity", "the upstream has no such parameter"); err != nil {
			return err
		}
	}
	f := text.Format
	if f == nil {
		return nil
	}
	if err := strays[responses.TextFormat](report, o, "text.format", f.Unknown); err != nil {
		return err
	}
	switch f.Type {
	case "text":
	case "json_object":
		out.ResponseFormat = &chat.ResponseFormat{Type: "json_object"}
	case "json_schema":
		if !isSet(f.Schema) {
			return missing("text.format.schema")
		}
		if f.Name == "" {
			return missing("text.format.name")
		}
		out.ResponseFormat = &chat.ResponseFormat{Type: "json_schema", JSONSchema: &chat.JSONSchema{
			Name: f.Name, Description: f.Description, Schema: f.Schema, Strict: f.Strict,
		}}
	case "":
		return missing("text.format.type")
	default:
		return invalid("invalid_value", "text.format.type", "Invalid value: '%s'. Supported values are: 'text', 'json_object' and 'json_schema'.", f.Type)
	}
	return nil
}

// openAIMembers carries over the members that mean something to OpenAI's own
// servers, if this is one, and reports the others.
func openAIMembers(req *responses.Request, out *chat.Request, d *Dialect, o *Options, report *Report) error {
	for _, m := range []struct {
		name string
		set  bool
		copy func() // nil: Chat has no such member anywhere
	}{
		{"metadata", isSet(req.Metadata) && !isEmptyObject(req.Metadata), func() { out.Metadata = req.Metadata }},
		{"user", req.User != "", func() { out.User = req.User }},
		{"safety_identifier", req.SafetyIdentifier != "", func() { out.SafetyIdentifier = req.SafetyIdentifier }},
		{"prompt_cache_key", req.PromptCacheKey != "", func() { out.PromptCacheKey = req.PromptCacheKey }},
		{"prompt_cache_options", isSet(req.PromptCacheOptions) && !d.knows("prompt_cache_options"), nil},
		{"prompt_cache_retention", req.CacheRetention != "", func() { out.CacheRetention = req.CacheRetention }},
		{"service_tier", req.ServiceTier == "ultrafast", nil}, // Chat has no such tier
		{"service_tier", d.knows("service_tier") && req.ServiceTier != "ultrafast", func() { out.ServiceTier = req.ServiceTier }},
		{"service_tier", !d.knows("service_tier") && !slices.Contains([]string{"", "auto", "default", "ultrafast"}, req.ServiceTier), nil},
		{"moderation", isSet(req.Moderation), func() { out.Moderation = req.Moderation }},
		{"context_management", isSet(req.ContextManagement), nil},
		{"access_programs", isSet(req.AccessPrograms), nil},
		{"image", isSet(req.Image), nil},
		{"truncation", req.Truncation != "" && req.Truncation != "disabled", nil},
		{"max_tool_calls", req.MaxToolCalls != nil, nil},
	} {
		if !m.set {
			continue
		}
		if m.copy != nil && d.knows(m.name) {
			m.copy()
			continue
		}
		if m.name == "metadata" {
			continue // the answer repeats it, which is all it is for
		}
		if err := report.hint(o, m.name, "the upstream has no such parameter"); err != nil {
			return err
		}
	}
	if isSet(req.PromptCacheOptions) && d.knows("prompt_cache_options") {
		if err := cacheOptions(req.PromptCacheOptions, out, o, report); err != nil {
			return err
		}
	}
	for i, name := range req.Include {
		at := element("include", i)
		switch {
		case !knownIncludes[name] && o.Strict:
			return invalid("invalid_value", at, "Invalid value: '%s'. Supported values are: %s.", name, quotedList(sortedKeys(knownIncludes)))
		case !knownIncludes[name]:
			report.add(at, "dropped")
		case name == includeEncrypted && o.Sealer == nil:
			if err := report.hint(o, at, "its reasoning is not encrypted, and this gateway has no key to do it"); err != nil {
				return err
			}
		}
	}
	if req.StreamOptions != nil {
		for name, value := range eachMember(req.StreamOptions.Unknown) {
			if value.Kind() != 'n' {
				return invalid("unknown_parameter", "stream_options."+name, "Unknown parameter: 'stream_options.%s'. Remove it: the Responses API has only 'include_obfuscation', and always tells the usage.", name)
			}
		}
	}
	return nil
}

// knownIncludes are the values of include. All but the log probabilities and the
// encrypted reasoning speak of tools that a Chat upstream does not run.
var knownIncludes = map[string]bool{
	"file_search_call.results":              true,
	"web_search_call.results":               true,
	"web_search_call.action.sources":        true,
	"message.input_image.image_url":         true,
	"computer_call_output.output.image_url": true,
	"code_interpreter_call.outputs":         true,
	"reasoning.encrypted_content":           true,
	"message.output_text.logprobs":          true,
}

// cacheOptions leaves out what only Responses has.
func cacheOptions(v jsontext.Value, out *chat.Request, o *Options, report *Report) error {
	b := []byte{'{'}
	for name, value := range eachMember(v) {
		if name == "prewarm" || name == "comparison_response_id" || name == "ttl" && string(value) == `"12h"` {
			if err := report.hint(o, "prompt_cache_options."+name, "Chat Completions has no such option"); err != nil {
				return err
			}
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(appendQuoted(b, name), ':'), value...)
	}
	if len(b) > 1 {
		out.PromptCacheOptions = append(b, '}')
	}
	return nil
}

func unknownMembers(req *responses.Request, out *chat.Request, d *Dialect, o *Options, report *Report) error {
	var extra []byte
	for name, value := range eachMember(req.Unknown) {
		switch {
		case value.Kind() == 'n':
		case name == "generate" || name == "stream_id" || name == "type": // of the WebSocket's envelope
			return invalid("unknown_parameter", name, "Unknown parameter: '%s'. Remove it: it is only for requests over a WebSocket.", name)
		case name == "n":
			if string(value) != "1" {
				return unsupported("n", "Unsupported parameter: 'n'. The Responses API gives one answer; send the request once for each.")
			}
		case name == "stop":
			if err := json.Unmarshal(value, &out.Stop); err != nil {
				return invalid("invalid_type", "stop", "Invalid type for 'stop': expected a string or an array of strings.")
			}
		case name == "seed" && d.Seed != "":
			extra = append(append(appendQuoted(append(extra, ','), d.Seed), ':'), value...)
		case d.extends(name):
			extra = append(append(appendQuoted(append(extra, ','), name), ':'), value...)
		default:
			if o.Strict {
				return invalid("unknown_parameter", name, "Unknown parameter: '%s'.", name)
			}
			report.lose(strayed("", name))
		}
	}
	if len(extra) == 0 {
		return nil
	}
	extra[0] = '{'
	// Decoding gives each member the type that Chat has for it.
	var rest chat.Request
	if err := unmarshal(append(extra, '}'), &rest); err != nil {
		return err
	}
	out.Seed, out.LogitBias, out.Unknown = rest.Seed, rest.LogitBias, rest.Unknown
	if rest.Logprobs != nil {
		out.Logprobs = rest.Logprobs
	}
	return nil
}
