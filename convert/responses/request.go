// Package responses has the wire types of OpenAI's Responses API: requests,
// items, the response object and its stream events.
//
// Items, parts, tools and events are unions on the wire. Here each is one struct
// with the members of all its variants, of which Type says the ones that count:
// a gateway reads most members of most variants, and a reader who knows the API
// finds the member he looks for by its name. Members that a type does not name
// are kept, bytes and order, in its Unknown field, and written back. In requests
// JSON null means absent.
package responses

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/union"
)

// Request is the body of POST /v1/responses.
// https://platform.openai.com/docs/api-reference/responses/create
type Request struct {
	Model string `json:"model,omitzero"`
	// Input is nil when absent; a string is read as one user message.
	Input              Input          `json:"input,omitzero"`
	Instructions       string         `json:"instructions,omitzero"`
	PreviousResponseID string         `json:"previous_response_id,omitzero"`
	Conversation       *Conversation  `json:"conversation,omitzero"`
	Prompt             jsontext.Value `json:"prompt,omitzero"`

	Tools             []Tool      `json:"tools,omitzero"`
	ToolChoice        *ToolChoice `json:"tool_choice,omitzero"`
	ParallelToolCalls *bool       `json:"parallel_tool_calls,omitzero"`
	MaxToolCalls      *int64      `json:"max_tool_calls,omitzero"`

	Text             *TextConfig    `json:"text,omitzero"`
	Reasoning        *Reasoning     `json:"reasoning,omitzero"`
	MaxOutputTokens  *int64         `json:"max_output_tokens,omitzero"`
	Temperature      *float64       `json:"temperature,omitzero"`
	TopP             *float64       `json:"top_p,omitzero"`
	FrequencyPenalty *float64       `json:"frequency_penalty,omitzero"`
	PresencePenalty  *float64       `json:"presence_penalty,omitzero"`
	TopLogprobs      *int64         `json:"top_logprobs,omitzero"`
	Include          []string       `json:"include,omitzero"`
	Store            *bool          `json:"store,omitzero"`
	Background       *bool          `json:"background,omitzero"`
	Stream           *bool          `json:"stream,omitzero"`
	StreamOptions    *StreamOptions `json:"stream_options,omitzero"`
	Truncation       string         `json:"truncation,omitzero"`

	Metadata           jsontext.Value `json:"metadata,omitzero"`
	User               string         `json:"user,omitzero"`
	SafetyIdentifier   string         `json:"safety_identifier,omitzero"`
	PromptCacheKey     string         `json:"prompt_cache_key,omitzero"`
	PromptCacheOptions jsontext.Value `json:"prompt_cache_options,omitzero"`
	CacheRetention     string         `json:"prompt_cache_retention,omitzero"`
	ServiceTier        string         `json:"service_tier,omitzero"`
	Moderation         jsontext.Value `json:"moderation,omitzero"`
	ContextManagement  jsontext.Value `json:"context_management,omitzero"`
	AccessPrograms     jsontext.Value `json:"access_programs,omitzero"`
	Image              jsontext.Value `json:"image,omitzero"`
	// ClientMetadata is what Codex sends about itself; undocumented.
	ClientMetadata jsontext.Value `json:"client_metadata,omitzero"`

	Unknown jsontext.Value `json:",embed"`
}

// Input is the list of items of a request.
type Input []Item

// Content is a string or a list of parts.
type Content = union.Content[Part]

// Text returns string content.
func Text(s string) Content { return union.Text[Part](s) }

// Parts returns content that is a list of parts.
func Parts(p ...Part) Content { return union.Parts(p...) }

// Value is a string or any other JSON value.
type Value = union.Value

// Raw returns a value that is not a string.
func Raw(v jsontext.Value) Value { return union.Raw(v) }

// String returns a string value.
func String(s string) Value { return union.String(s) }

// Item is one item of a request's input or a response's output. Type may be
// empty in requests: with a role it is a message, with only an id an
// item_reference; [Item.Kind] says which.
type Item struct {
	Type   string `json:"type,omitzero"`
	ID     string `json:"id,omitzero"`
	Status string `json:"status,omitzero"`

	// message, and Content also of reasoning
	Role    string  `json:"role,omitzero"`
	Content Content `json:"content,omitzero"`
	Phase   string  `json:"phase,omitzero"`

	// reasoning; EncryptedContent also of compaction and agent_message
	Summary          []Part `json:"summary,omitzero"`
	EncryptedContent string `json:"encrypted_content,omitzero"`

	// calls and their outputs
	CallID    string `json:"call_id,omitzero"`
	Name      string `json:"name,omitzero"`
	Namespace string `json:"namespace,omitzero"`
	// Arguments is a string in function_call and mcp_call, an object in tool_search_call.
	Arguments Value          `json:"arguments,omitzero"`
	Input     *string        `json:"input,omitzero"`     // custom_tool_call
	Output    Value          `json:"output,omitzero"`    // a string, or a list of parts or of shell results
	Action    jsontext.Value `json:"action,omitzero"`    // local_shell_call, shell_call, computer_call, web_search_call
	Operation jsontext.Value `json:"operation,omitzero"` // apply_patch_call
	Execution string         `json:"execution,omitzero"` // tool_search_*: client or server
	Caller    jsontext.Value `json:"caller,omitzero"`    // of a call made by a program
	// EncryptedFunctionArgs names the arguments that are ciphertext. Codex takes
	// a call's arguments as plain text only where it is present and empty.
	EncryptedFunctionArgs []string `json:"encrypted_function_args,omitzero"`

	// mcp_call, mcp_list_tools, mcp_approval_request
	ServerLabel string         `json:"server_label,omitzero"`
	Error       jsontext.Value `json:"error,omitzero"`

	// additional_tools, tool_search_output, mcp_list_tools
	Tools []Tool `json:"tools,omitzero"`

	// configuration_update
	Reasoning *Reasoning  `json:"reasoning,omitzero"`
	Text      *TextConfig `json:"text,omitzero"`

	Unknown jsontext.Value `json:",embed"`
}

// Kind is the item's type, told from its members where it is left out.
func (i *Item) Kind() string {
	switch {
	case i.Type != "":
		return i.Type
	case i.Role != "":
		return "message"
	case i.ID != "" && i.CallID == "" && i.Content.IsZero():
		return "item_reference"
	}
	return ""
}

// Part is one part of an item's content: input_text, input_image, input_file,
// input_audio, output_text, refusal, summary_text, reasoning_text.
type Part struct {
	Type string `json:"type"`

	Text     *string `json:"text,omitzero"`
	Refusal  *string `json:"refusal,omitzero"`
	ImageURL string  `json:"image_url,omitzero"`
	Detail   string  `json:"detail,omitzero"`
	FileID   string  `json:"file_id,omitzero"`
	FileData string  `json:"file_data,omitzero"`
	FileURL  string  `json:"file_url,omitzero"`
	Filename string  `json:"filename,omitzero"`

	InputAudio      jsontext.Value `json:"input_audio,omitzero"`
	CacheBreakpoint jsontext.Value `json:"prompt_cache_breakpoint,omitzero"`
	// Annotations and Logprobs are required in an output_text of an answer, where
	// they are empty and not nil.
	Annotations []Annotation `json:"annotations,omitzero"`
	Logprobs    []Logprob    `json:"logprobs,omitzero"`

	Unknown jsontext.Value `json:",embed"`
}

// Str is the part's text or refusal.
func (p *Part) Str() string {
	if p.Text != nil {
		return *p.Text
	}
	if p.Refusal != nil {
		return *p.Refusal
	}
	return ""
}

// InputText returns an input_text part.
func InputText(s string) Part { return Part{Type: "input_text", Text: &s} }

// OutputText returns an output_text part as an answer has it.
func OutputText(s string) Part {
	return Part{Type: "output_text", Text: &s, Annotations: []Annotation{}, Logprobs: []Logprob{}}
}

// Refusal returns a refusal part.
func Refusal(s string) Part { return Part{Type: "refusal", Refusal: &s} }

// SummaryText returns a part of a reasoning item's summary.
func SummaryText(s string) Part { return Part{Type: "summary_text", Text: &s} }

// ReasoningText returns a part of a reasoning item's content.
func ReasoningText(s string) Part { return Part{Type: "reasoning_text", Text: &s} }

// Annotation is a citation; only url_citation has a counterpart in Chat.
type Annotation struct {
	Type       string         `json:"type"`
	StartIndex *int64         `json:"start_index,omitzero"`
	EndIndex   *int64         `json:"end_index,omitzero"`
	URL        string         `json:"url,omitzero"`
	Title      *string        `json:"title,omitzero"`
	Unknown    jsontext.Value `json:",embed"`
}

// Logprob is the log probability of one token. In the events of a stream Bytes
// is absent; in a finished part it is required.
type Logprob struct {
	Token       string         `json:"token"`
	Logprob     float64        `json:"logprob"`
	Bytes       []int          `json:"bytes,omitzero"`
	TopLogprobs []Logprob      `json:"top_logprobs,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}

// Tool is a tool that the model may call. Type says which.
type Tool struct {
	Type        string         `json:"type"`
	Name        string         `json:"name,omitzero"`
	Description string         `json:"description,omitzero"`
	Parameters  jsontext.Value `json:"parameters,omitzero"` // function, tool_search
	Strict      *bool          `json:"strict,omitzero"`     // function; absent means: strict where the schema allows
	Format      *Format        `json:"format,omitzero"`     // custom
	Tools       []Tool         `json:"tools,omitzero"`      // namespace
	Execution   string         `json:"execution,omitzero"`  // tool_search: client or server
	Environment jsontext.Value `json:"environment,omitzero"`
	ServerLabel string         `json:"server_label,omitzero"` // mcp

	// web_search
	SearchContextSize string         `json:"search_context_size,omitzero"`
	UserLocation      jsontext.Value `json:"user_location,omitzero"`

	DeferLoading *bool `json:"defer_loading,omitzero"`

	Unknown jsontext.Value `json:",embed"`
}

// Format is the format of a custom tool's input: text, or a grammar.
type Format struct {
	Type       string         `json:"type"`
	Syntax     string         `json:"syntax,omitzero"`
	Definition string         `json:"definition,omitzero"`
	Unknown    jsontext.Value `json:",embed"`
}

// TextConfig is the text member of a request.
type TextConfig struct {
	Format    *TextFormat    `json:"format,omitzero"`
	Verbosity string         `json:"verbosity,omitzero"`
	Unknown   jsontext.Value `json:",embed"`
}

// TextFormat is text, json_object or json_schema.
type TextFormat struct {
	Type        string         `json:"type"`
	Name        string         `json:"name,omitzero"`
	Description string         `json:"description,omitzero"`
	Schema      jsontext.Value `json:"schema,omitzero"`
	Strict      *bool          `json:"strict,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}

// Reasoning is the reasoning member of a request.
type Reasoning struct {
	Effort          string         `json:"effort,omitzero"`
	Summary         string         `json:"summary,omitzero"`
	GenerateSummary string         `json:"generate_summary,omitzero"`
	Context         string         `json:"context,omitzero"`
	Mode            string         `json:"mode,omitzero"`
	Unknown         jsontext.Value `json:",embed"`
}

// StreamOptions are the options of a streamed answer.
type StreamOptions struct {
	IncludeObfuscation *bool          `json:"include_obfuscation,omitzero"`
	Unknown            jsontext.Value `json:",embed"`
}
