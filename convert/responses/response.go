package responses

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Statuses of a response.
const (
	Queued     = "queued"
	InProgress = "in_progress"
	Completed  = "completed"
	Incomplete = "incomplete"
	Failed     = "failed"
	Cancelled  = "cancelled"
)

// Response is the response object.
// https://platform.openai.com/docs/api-reference/responses/object
//
// The members that only repeat the request (instructions, tools, temperature …)
// are together in Echo: a gateway makes them once for all events of a stream.
type Response struct {
	ID                string             `json:"id"`
	Object            string             `json:"object"`
	CreatedAt         Seconds            `json:"created_at"`
	CompletedAt       *Seconds           `json:"completed_at"`
	Status            string             `json:"status"`
	Error             *ResponseError     `json:"error"`
	IncompleteDetails *IncompleteDetails `json:"incomplete_details"`
	Model             string             `json:"model"`
	Output            []Item             `json:"output"`
	Usage             *Usage             `json:"usage"`
	ServiceTier       string             `json:"service_tier,omitzero"`

	// Echo holds all other members.
	Echo jsontext.Value `json:",embed"`
}

// ResponseError says why a response failed.
type ResponseError struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Unknown jsontext.Value `json:",embed"`
}

// IncompleteDetails says why a response is incomplete: max_output_tokens,
// content_filter, and rarer reasons.
type IncompleteDetails struct {
	Reason  string         `json:"reason"`
	Unknown jsontext.Value `json:",embed"`
}

// Usage counts tokens. Both details are required.
type Usage struct {
	InputTokens         int64          `json:"input_tokens"`
	InputTokensDetails  InputDetails   `json:"input_tokens_details"`
	OutputTokens        int64          `json:"output_tokens"`
	OutputTokensDetails OutputDetails  `json:"output_tokens_details"`
	TotalTokens         int64          `json:"total_tokens"`
	Unknown             jsontext.Value `json:",embed"`
}

// InputDetails break down the input's tokens.
type InputDetails struct {
	CachedTokens     int64          `json:"cached_tokens"`
	CacheWriteTokens int64          `json:"cache_write_tokens"`
	Unknown          jsontext.Value `json:",embed"`
}

// OutputDetails break down the output's tokens.
type OutputDetails struct {
	ReasoningTokens int64          `json:"reasoning_tokens"`
	Unknown         jsontext.Value `json:",embed"`
}

// Seconds is a time in whole seconds since 1970. It is read from a fraction too,
// which some servers send.
type Seconds int64

// UnmarshalJSONFrom reads a number.
func (s *Seconds) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var f float64
	if err := json.UnmarshalDecode(dec, &f); err != nil {
		return err
	}
	*s = Seconds(f)
	return nil
}
