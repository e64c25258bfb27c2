package convert

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// outcome is how an answer ended.
type outcome struct{ status, reason string }

// outcomes are the values of finish_reason, OpenAI's and other servers', in
// lower case. Any other means completed.
var outcomes = map[string]outcome{
	"length":                        {responses.Incomplete, "max_output_tokens"},
	"max_tokens":                    {responses.Incomplete, "max_output_tokens"},
	"max_output_tokens":             {responses.Incomplete, "max_output_tokens"},
	"model_length":                  {responses.Incomplete, "max_output_tokens"}, // Mistral
	"model_context_window_exceeded": {responses.Incomplete, "max_output_tokens"}, // GLM

	"content_filter":     {responses.Incomplete, "content_filter"},
	"safety":             {responses.Incomplete, "content_filter"}, // Gemini
	"recitation":         {responses.Incomplete, "content_filter"}, // Gemini
	"prohibited_content": {responses.Incomplete, "content_filter"}, // Gemini
	"sensitive":          {responses.Incomplete, "content_filter"}, // GLM

	"error":                        {responses.Failed, ""}, // OpenRouter
	"network_error":                {responses.Failed, ""}, // GLM
	"insufficient_system_resource": {responses.Failed, ""}, // DeepSeek
	"abort":                        {responses.Failed, ""}, // vLLM
}

func outcomeOf(finish string) outcome {
	if out, ok := outcomes[strings.ToLower(finish)]; ok {
		return out
	}
	return outcome{responses.Completed, ""}
}

// finishReason is the reverse, for a response that did not fail.
func finishReason(resp *responses.Response, called, legacy bool) string {
	if resp.Status == responses.Incomplete {
		if resp.IncompleteDetails != nil && resp.IncompleteDetails.Reason == "content_filter" {
			return "content_filter"
		}
		return "length" // also with calls: they may be partial
	}
	switch {
	case called && legacy:
		return "function_call"
	case called:
		return "tool_calls"
	}
	return "stop"
}

// answerError is the error that a 200 answer may hold.
func answerError(body []byte) *Error {
	return bodyError(502, body, false)
}

// streamError is the error that an event of a stream holds, if it does: one by
// its name, whatever its data, or one by its data.
func streamError(e sse.Event, typ string) *Error {
	named := typ == "error" || string(e.Type) == "error"
	if failure := bodyError(502, e.Data, named); failure != nil || !named {
		return failure
	}
	text := strings.TrimSpace(string(e.Data))
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	return defaults(&Error{Status: 502, Message: strings.ToValidUTF8(text, "")})
}

// maxErrorText bounds the message that is made of an error without structure.
const maxErrorText = 1000

// bodyError reads an error of any known shape: OpenAI's object, a bare string,
// Google's list, the flat bodies of vLLM and Mistral, FastAPI's detail. Flat
// bodies count only where it is known that this is an error, or where they say so.
func bodyError(status int, body []byte, known bool) *Error {
	value := jsontext.Value(body)
	if !value.IsValid(lenient) {
		return nil
	}
	if value.Kind() == '[' {
		var list []jsontext.Value
		if json.Unmarshal(value, &list, lenient) != nil || len(list) == 0 {
			return nil
		}
		value = list[0]
	}
	if known && value.Kind() == '"' {
		return fields(status, value, nil, nil, nil)
	}
	var flat struct {
		Object, Error, Message, Detail, Type, Code, Param jsontext.Value
	}
	if json.Unmarshal(value, &flat, lenient, json.MatchCaseInsensitiveNames(true)) != nil {
		return nil
	}
	switch {
	case truthy(flat.Error):
		return parseError(status, flat.Error, flat.Message, flat.Code)
	case !known && textOf(flat.Object) != "error":
		return nil
	case isSet(flat.Message):
		return fields(status, flat.Message, flat.Type, flat.Code, flat.Param)
	case isSet(flat.Detail):
		return fields(status, flat.Detail, flat.Type, flat.Code, flat.Param)
	case !known:
		return defaults(&Error{Status: status})
	}
	return nil
}

// truthy tells whether a value counts as true in JavaScript: healthy chunks of
// some servers have an error that is null, false or empty.
func truthy(v jsontext.Value) bool {
	if !isSet(v) {
		return false
	}
	switch string(v) {
	case `false`, `""`, `0`:
		return false
	}
	return true
}

// ReadError reads the body of an upstream's error answer, whatever its shape:
// OpenAI's object, a bare string, Google's list, the flat bodies of vLLM and
// Mistral, FastAPI's detail, or no JSON at all.
func ReadError(status int, body []byte) *Error {
	e := readError(status, body)
	e.Status = status
	e.Code = knownCode(e.Code, e.Message)
	return e
}

func readError(status int, body []byte) *Error {
	if e := bodyError(status, body, true); e != nil {
		return e
	}
	message := "The upstream answered " + strconv.Itoa(status) + "."
	if !jsontext.Value(body).IsValid(lenient) {
		message = "The upstream answered " + strconv.Itoa(status) + " without saying why in JSON."
	}
	return defaults(&Error{Status: status, Message: message})
}

// parseError reads the value of an "error" member.
func parseError(status int, v, message, code jsontext.Value) *Error {
	if v.Kind() != '{' {
		if isSet(message) { // {"error":"Not Found","message":"…"}
			v = message
		}
		return fields(status, v, nil, code, nil)
	}
	var e struct {
		Message jsontext.Value `json:"message"`
		Type    jsontext.Value `json:"type"`
		Status  jsontext.Value `json:"status"` // Google's word for the type
		Code    jsontext.Value `json:"code"`
		Param   jsontext.Value `json:"param"`
	}
	if json.Unmarshal(v, &e, lenient) != nil {
		return defaults(&Error{Status: status})
	}
	if !isSet(e.Type) && e.Status.Kind() == '"' {
		e.Type = e.Status
	}
	if !isSet(e.Code) && e.Status.Kind() == '0' {
		e.Code = e.Status
	}
	return fields(status, e.Message, e.Type, e.Code, e.Param)
}

func fields(status int, message, typ, code, param jsontext.Value) *Error {
	e := &Error{Status: status, Message: textOf(message), Type: textOf(typ), Code: textOf(code), Param: textOf(param)}
	if e.Type == "error" { // the type of the event
		e.Type = ""
	}
	// A number for a code is a server's own, or the HTTP status once more.
	if n, err := strconv.Atoi(e.Code); err == nil {
		if n >= 400 && n <= 599 && status == 502 {
			e.Status = n
		}
		e.Code = ""
	}
	return defaults(e)
}

func textOf(v jsontext.Value) string {
	if !isSet(v) {
		return ""
	}
	var s string
	if json.Unmarshal(v, &s, lenient) == nil {
		return s
	}
	return string(v)
}

func defaults(e *Error) *Error {
	if e.Message == "" {
		e.Message = "The upstream reported an error without a message."
	}
	if e.Type == "" || e.Type == "BadRequestError" || e.Type == "None" {
		e.Type = typeOf(e.Status)
	}
	e.Code = knownCode(e.Code, e.Message)
	return e
}

// typeOf is OpenAI's error type for an HTTP status.
func typeOf(status int) string {
	switch {
	case status == 401:
		return "authentication_error"
	case status == 403:
		return "permission_error"
	case status == 429:
		return "rate_limit_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// contextExceeded are the words in which servers say that the prompt is too
// long. Codex compacts the conversation when it is told by the code.
var contextExceeded = regexp.MustCompile(`(?i)maximum context length|context length exceeded|exceeds? (the )?(available |model'?s? )?context|context window|prompt is too long|too many tokens|input is too long`)

// knownCode gives an error the code that clients act on, where its words are clear.
func knownCode(code, message string) string {
	if code == "context_length_exceeded" || code == "insufficient_quota" || code == "rate_limit_exceeded" {
		return code
	}
	if contextExceeded.MatchString(message) {
		return "context_length_exceeded"
	}
	return code
}

// responseError is an error as a failed response has it. Its code is never
// empty.
func responseError(e *Error) *responses.ResponseError {
	code := e.Code
	if code == "" {
		switch {
		case e.Type == "insufficient_quota":
			code = e.Type
		case e.Status == 429 || e.Type == "rate_limit_error" || e.Type == "too_many_requests":
			code = "rate_limit_exceeded"
		case e.Status == 400 && e.Type == "invalid_request_error":
			code = "invalid_prompt"
		default:
			code = "server_error"
		}
	}
	return &responses.ResponseError{Code: code, Message: e.Message}
}

// failures are the HTTP statuses of the codes of a failed response.
var failures = map[string]int{
	"rate_limit_exceeded":     429,
	"insufficient_quota":      429,
	"context_length_exceeded": 400,
	"invalid_prompt":          400,

	"bio_policy":                    400,
	"misalignment_policy_violation": 400,
	"data_residency_mismatch":       400,
	"vector_store_timeout":          504,
}

// FailedError is a response that failed as an error.
func FailedError(resp *responses.Response) *Error {
	e := &Error{Status: 500, Type: "server_error", Code: "server_error", Message: "The upstream's response failed."}
	if resp.Status == responses.Cancelled {
		e.Code, e.Message = "cancelled", "The response was cancelled."
	}
	if resp.Error == nil {
		return e
	}
	if resp.Error.Message != "" {
		e.Message = resp.Error.Message
	}
	if code := knownCode(resp.Error.Code, e.Message); code != "" {
		e.Code = code
	}
	if status, ok := failures[e.Code]; ok {
		e.Status = status
	} else if strings.Contains(e.Code, "image") {
		e.Status = 400
	}
	e.Type = typeOf(e.Status)
	return e
}
