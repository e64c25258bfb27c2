// Package chat has the wire types of OpenAI's Chat Completions API.
//
// Members that a type does not name are kept, bytes and order, in its Unknown
// field, and written back. In requests JSON null means absent.
package chat

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/union"
)

// Content is a string or a list of parts.
type Content = union.Content[Part]

// Text returns string content.
func Text(s string) Content { return union.Text[Part](s) }

// Parts returns content that is a list of parts.
func Parts(p ...Part) Content { return union.Parts(p...) }

// Request is the body of POST /v1/chat/completions.
// https://platform.openai.com/docs/api-reference/chat/create
type Request struct {
	Model    string   `json:"model,omitzero"`
	Messages Messages `json:"messages"`

	Tools             []Tool      `json:"tools,omitzero"`
	ToolChoice        *ToolChoice `json:"tool_choice,omitzero"`
	ParallelToolCalls *bool       `json:"parallel_tool_calls,omitzero"`
	// Functions and FunctionCall are the form of 2023, long deprecated and still sent.
	Functions    []Function    `json:"functions,omitzero"`
	FunctionCall *FunctionMode `json:"function_call,omitzero"`

	ResponseFormat      *ResponseFormat   `json:"response_format,omitzero"`
	MaxCompletionTokens *int64            `json:"max_completion_tokens,omitzero"`
	MaxTokens           *int64            `json:"max_tokens,omitzero"`
	N                   *int64            `json:"n,omitzero"`
	Temperature         *float64          `json:"temperature,omitzero"`
	TopP                *float64          `json:"top_p,omitzero"`
	FrequencyPenalty    *float64          `json:"frequency_penalty,omitzero"`
	PresencePenalty     *float64          `json:"presence_penalty,omitzero"`
	Logprobs            *bool             `json:"logprobs,omitzero"`
	TopLogprobs         *int64            `json:"top_logprobs,omitzero"`
	LogitBias           jsontext.Value    `json:"logit_bias,omitzero"`
	Seed                *int64            `json:"seed,omitzero"`
	Stop                Stop              `json:"stop,omitzero"`
	ReasoningEffort     string            `json:"reasoning_effort,omitzero"`
	Verbosity           string            `json:"verbosity,omitzero"`
	Stream              *bool             `json:"stream,omitzero"`
	StreamOptions       *StreamOptions    `json:"stream_options,omitzero"`
	Store               *bool             `json:"store,omitzero"`
	Metadata            jsontext.Value    `json:"metadata,omitzero"`
	User                string            `json:"user,omitzero"`
	SafetyIdentifier    string            `json:"safety_identifier,omitzero"`
	PromptCacheKey      string            `json:"prompt_cache_key,omitzero"`
	PromptCacheOptions  jsontext.Value    `json:"prompt_cache_options,omitzero"`
	CacheRetention      string            `json:"prompt_cache_retention,omitzero"`
	ServiceTier         string            `json:"service_tier,omitzero"`
	Moderation          jsontext.Value    `json:"moderation,omitzero"`
	Modalities          []string          `json:"modalities,omitzero"`
	Audio               jsontext.Value    `json:"audio,omitzero"`
	Prediction          jsontext.Value    `json:"prediction,omitzero"`
	WebSearchOptions    *WebSearchOptions `json:"web_search_options,omitzero"`

	Unknown jsontext.Value `json:",embed"`
}

// Messages is the list of messages of a request.
type Messages []Message

// Message is one message of a request: of the system, developer, user,
// assistant, tool, or (long deprecated) function.
type Message struct {
	Role    string  `json:"role,omitzero"`
	Content Content `json:"content,omitzero"`
	Name    string  `json:"name,omitzero"`

	// Of an assistant message:
	Refusal      string         `json:"refusal,omitzero"`
	ToolCalls    []ToolCall     `json:"tool_calls,omitzero"`
	FunctionCall *FunctionCall  `json:"function_call,omitzero"`
	Audio        jsontext.Value `json:"audio,omitzero"`
	// The model's reasoning, under the three names that servers give it.
	// ReasoningContent is a pointer because DeepSeek wants an empty one.
	ReasoningContent *string         `json:"reasoning_content,omitzero"`
	Reasoning        *string         `json:"reasoning,omitzero"`
	ReasoningDetails ReasoningDetail `json:"reasoning_details,omitzero"`

	// ToolCallID is the call that a tool message answers.
	ToolCallID string `json:"tool_call_id,omitzero"`

	// NullContent writes content as null, not as absent.
	NullContent bool `json:"-"`

	Unknown jsontext.Value `json:",embed"`
}

// ReasoningDetail is OpenRouter's list of reasoning blocks.
// https://openrouter.ai/docs/use-cases/reasoning-tokens
type ReasoningDetail []ReasoningBlock

// ReasoningBlock is one block: reasoning.text, reasoning.summary or
// reasoning.encrypted.
type ReasoningBlock struct {
	Type    string         `json:"type,omitzero"`
	ID      string         `json:"id,omitzero"`
	Text    string         `json:"text,omitzero"`
	Summary string         `json:"summary,omitzero"`
	Data    string         `json:"data,omitzero"`
	Index   *int           `json:"index,omitzero"`
	Unknown jsontext.Value `json:",embed"`
}

// Part is one part of a message's content; Type says which members count.
type Part struct {
	Type string `json:"type"`

	Text       string         `json:"text,omitzero"`
	Refusal    string         `json:"refusal,omitzero"`
	ImageURL   *ImageURL      `json:"image_url,omitzero"`
	InputAudio jsontext.Value `json:"input_audio,omitzero"`
	File       *File          `json:"file,omitzero"`
	// Thinking is a part of Mistral's answers: a string or a list of text parts.
	Thinking jsontext.Value `json:"thinking,omitzero"`
	// CacheBreakpoint is OpenAI's prompt_cache_breakpoint.
	CacheBreakpoint jsontext.Value `json:"prompt_cache_breakpoint,omitzero"`

	Unknown jsontext.Value `json:",embed"`
}

// File is the payload of a file part.
type File struct {
	FileID   string         `json:"file_id,omitzero"`
	FileData string         `json:"file_data,omitzero"`
	Filename string         `json:"filename,omitzero"`
	Unknown  jsontext.Value `json:",embed"`
}

// Function is a function's declaration.
type Function struct {
	Name        string         `json:"name,omitzero"`
	Description string         `json:"description,omitzero"`
	Parameters  jsontext.Value `json:"parameters,omitzero"`
	Strict      *bool          `json:"strict,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}

// Tool is a function or a custom tool.
type Tool struct {
	Type     string         `json:"type,omitzero"`
	Function *Function      `json:"function,omitzero"`
	Custom   *Custom        `json:"custom,omitzero"`
	Unknown  jsontext.Value `json:",embed"`
}

// Custom is a tool whose input is free text, perhaps under a grammar.
type Custom struct {
	Name        string         `json:"name,omitzero"`
	Description string         `json:"description,omitzero"`
	Format      *Format        `json:"format,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}

// Format is the format of a custom tool's input: text or grammar.
type Format struct {
	Type    string         `json:"type,omitzero"`
	Grammar *Grammar       `json:"grammar,omitzero"`
	Unknown jsontext.Value `json:",embed"`
}

// Grammar is a lark or regex grammar.
type Grammar struct {
	Definition string         `json:"definition,omitzero"`
	Syntax     string         `json:"syntax,omitzero"`
	Unknown    jsontext.Value `json:",embed"`
}

// ToolCall is a call in an assistant message of a request or a whole answer.
type ToolCall struct {
	ID       string         `json:"id,omitzero"`
	Type     string         `json:"type,omitzero"`
	Function *FunctionCall  `json:"function,omitzero"`
	Custom   *CustomCall    `json:"custom,omitzero"`
	Index    *int           `json:"index,omitzero"`
	Unknown  jsontext.Value `json:",embed"`
}

// FunctionCall is a function's name and its arguments, JSON in a string. Some
// servers send the object itself, which is read too.
type FunctionCall struct {
	Name      string         `json:"name,omitzero"`
	Arguments union.Value    `json:"arguments,omitzero"`
	Unknown   jsontext.Value `json:",embed"`
}

// Arguments returns arguments as a string, the form of the API.
func Arguments(s string) union.Value { return union.String(s) }

// CustomCall is a custom tool's name and input.
type CustomCall struct {
	Name    string         `json:"name,omitzero"`
	Input   string         `json:"input"`
	Unknown jsontext.Value `json:",embed"`
}

// ResponseFormat is text, json_object or json_schema.
type ResponseFormat struct {
	Type       string         `json:"type,omitzero"`
	JSONSchema *JSONSchema    `json:"json_schema,omitzero"`
	Unknown    jsontext.Value `json:",embed"`
}

// JSONSchema is the payload of a json_schema response format.
type JSONSchema struct {
	Name        string         `json:"name,omitzero"`
	Description string         `json:"description,omitzero"`
	Schema      jsontext.Value `json:"schema,omitzero"`
	Strict      *bool          `json:"strict,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}

// StreamOptions are the options of a streamed answer.
type StreamOptions struct {
	IncludeUsage       *bool          `json:"include_usage,omitzero"`
	IncludeObfuscation *bool          `json:"include_obfuscation,omitzero"`
	Unknown            jsontext.Value `json:",embed"`
}

// WebSearchOptions turn on the web search of OpenAI's search models.
type WebSearchOptions struct {
	SearchContextSize string         `json:"search_context_size,omitzero"`
	UserLocation      *UserLocation  `json:"user_location,omitzero"`
	Unknown           jsontext.Value `json:",embed"`
}

// UserLocation is an approximate place.
type UserLocation struct {
	Type        string         `json:"type,omitzero"`
	Approximate jsontext.Value `json:"approximate,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}
