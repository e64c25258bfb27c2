package chat

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/union"
)

// Answer is what a server sends back: a whole chat.completion, or one
// chat.completion.chunk of a stream. The two differ in where a choice keeps its
// text, and servers mix them up, so one type reads both.
//
// It has the members that mean something to this program, and is lenient where
// servers are known to differ: what may be of another type than OpenAI's, and
// must not make the text beside it unreadable, is kept as it came.
type Answer struct {
	Object      string         `json:"object,omitzero"`
	Choices     []Choice       `json:"choices,omitzero"`
	Usage       union.Value    `json:"usage,omitzero"`
	ServiceTier union.Value    `json:"service_tier,omitzero"`
	XGroq       jsontext.Value `json:"x_groq,omitzero"` // Groq's envelope of the usage of a stream
	// Error is an object at OpenAI, a string at some servers.
	Error jsontext.Value `json:"error,omitzero"`
	// Message, Type and Code stand at the top in the error bodies of old vLLM
	// ({"object":"error"}) and of Mistral.
	Message jsontext.Value `json:"message,omitzero"`
	Type    jsontext.Value `json:"type,omitzero"`
	Code    jsontext.Value `json:"code,omitzero"`
}

// Choice is one answer of the n that were asked for.
type Choice struct {
	Index        int         `json:"index"`
	Message      *Delta      `json:"message,omitzero"`
	Delta        *Delta      `json:"delta,omitzero"`
	FinishReason string      `json:"finish_reason,omitzero"`
	Logprobs     union.Value `json:"logprobs,omitzero"`
	Usage        union.Value `json:"usage,omitzero"` // Moonshot's place for it
}

// Delta is an assistant message, or a piece of one.
type Delta struct {
	// Content is a string; Mistral also sends a list of parts.
	Content union.Value `json:"content,omitzero"`
	Refusal string      `json:"refusal,omitzero"`
	// The model's reasoning under three names; some servers send it under two.
	ReasoningContent union.Value    `json:"reasoning_content,omitzero"`
	Reasoning        union.Value    `json:"reasoning,omitzero"`
	ReasoningDetails jsontext.Value `json:"reasoning_details,omitzero"`
	ToolCalls        CallDeltas     `json:"tool_calls,omitzero"`
	FunctionCall     *CallFunction  `json:"function_call,omitzero"`
	Annotations      jsontext.Value `json:"annotations,omitzero"`
	Audio            jsontext.Value `json:"audio,omitzero"`
}

// CallDeltas is a list of tool calls, or of pieces of some.
type CallDeltas []CallDelta

// UnmarshalJSONFrom reads a list, or the one call that TGI sends in its place.
func (c *CallDeltas) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '{' {
		return json.UnmarshalDecode(dec, (*[]CallDelta)(c))
	}
	var one CallDelta
	if err := json.UnmarshalDecode(dec, &one); err != nil {
		return err
	}
	*c = CallDeltas{one}
	return nil
}

// CallDelta is a tool call, or a piece of one.
type CallDelta struct {
	Index    *int          `json:"index,omitzero"`
	ID       string        `json:"id,omitzero"`
	Function *CallFunction `json:"function,omitzero"`
	Custom   *CallCustom   `json:"custom,omitzero"`
	// ExtraContent carries Gemini's thought signature.
	ExtraContent jsontext.Value `json:"extra_content,omitzero"`
}

// CallFunction is the function of a call. Arguments is a string; some servers
// send the object itself, or null.
type CallFunction struct {
	Name      string      `json:"name,omitzero"`
	Arguments union.Value `json:"arguments,omitzero"`
}

// CallCustom is the custom tool of a call.
type CallCustom struct {
	Name  string `json:"name,omitzero"`
	Input string `json:"input,omitzero"`
}

// Annotation is a url_citation.
type Annotation struct {
	Type        string         `json:"type"`
	URLCitation *URLCitation   `json:"url_citation,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}

// URLCitation says which characters of the text rest on which page.
type URLCitation struct {
	StartIndex int64          `json:"start_index"`
	EndIndex   int64          `json:"end_index"`
	URL        string         `json:"url"`
	Title      string         `json:"title"`
	Unknown    jsontext.Value `json:",embed"`
}

// Logprobs are the log probabilities of a choice's tokens.
type Logprobs struct {
	Content []Logprob `json:"content"`
	Refusal []Logprob `json:"refusal"`
}

// Logprob is one token's log probability. Bytes is null where the token is not
// text of its own.
type Logprob struct {
	Token       string         `json:"token"`
	Logprob     float64        `json:"logprob"`
	Bytes       *[]int         `json:"bytes"`
	TopLogprobs []Logprob      `json:"top_logprobs,omitzero"`
	Unknown     jsontext.Value `json:",embed"`
}

// Usage counts tokens.
type Usage struct {
	PromptTokens            Count              `json:"prompt_tokens"`
	CompletionTokens        Count              `json:"completion_tokens"`
	TotalTokens             Count              `json:"total_tokens"`
	PromptTokensDetails     *PromptDetails     `json:"prompt_tokens_details,omitzero"`
	CompletionTokensDetails *CompletionDetails `json:"completion_tokens_details,omitzero"`

	// Other servers' places for the same counts.
	PromptCacheHitTokens     *Count `json:"prompt_cache_hit_tokens,omitzero"`     // DeepSeek
	CachedTokens             *Count `json:"cached_tokens,omitzero"`               // Moonshot
	CacheCreationInputTokens *Count `json:"cache_creation_input_tokens,omitzero"` // Anthropic's name
	ReasoningTokens          *Count `json:"reasoning_tokens,omitzero"`
}

// PromptDetails break down the prompt's tokens.
type PromptDetails struct {
	CachedTokens     *Count `json:"cached_tokens,omitzero"`
	CacheWriteTokens *Count `json:"cache_write_tokens,omitzero"`
	AudioTokens      Count  `json:"audio_tokens"`
}

// CompletionDetails break down the answer's tokens.
type CompletionDetails struct {
	ReasoningTokens          *Count `json:"reasoning_tokens,omitzero"`
	AudioTokens              Count  `json:"audio_tokens"`
	AcceptedPredictionTokens Count  `json:"accepted_prediction_tokens"`
	RejectedPredictionTokens Count  `json:"rejected_prediction_tokens"`
}

// Count is a number of tokens. It is read from a fraction too; anything that is
// not a number counts as none.
type Count int64

// UnmarshalJSONFrom reads a number.
func (c *Count) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*c = 0
	if dec.PeekKind() != '0' {
		return dec.SkipValue()
	}
	var f float64
	if err := json.UnmarshalDecode(dec, &f); err != nil {
		return err
	}
	if f > 0 && f < 1<<53 {
		*c = Count(f)
	}
	return nil
}

// Completion is a chat.completion as this program writes it.
type Completion struct {
	ID                string             `json:"id"`
	Object            string             `json:"object"`
	Created           int64              `json:"created"`
	Model             string             `json:"model"`
	Choices           []CompletionChoice `json:"choices"`
	Usage             *Usage             `json:"usage,omitzero"`
	ServiceTier       string             `json:"service_tier,omitzero"`
	SystemFingerprint *string            `json:"system_fingerprint"`
}

// CompletionChoice is a choice of a [Completion].
type CompletionChoice struct {
	Index        int               `json:"index"`
	Message      CompletionMessage `json:"message"`
	Logprobs     *Logprobs         `json:"logprobs"`
	FinishReason string            `json:"finish_reason"`
}

// CompletionMessage is the message of a [Completion]. Content is null when the
// model wrote no text.
type CompletionMessage struct {
	Role             string          `json:"role"`
	Content          *string         `json:"content"`
	Refusal          *string         `json:"refusal"`
	Annotations      []Annotation    `json:"annotations"`
	ToolCalls        []ToolCall      `json:"tool_calls,omitzero"`
	FunctionCall     *FunctionCall   `json:"function_call,omitzero"`
	ReasoningContent string          `json:"reasoning_content,omitzero"`
	ReasoningDetails ReasoningDetail `json:"reasoning_details,omitzero"`
}
