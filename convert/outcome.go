package convert

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
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

// answerError is the error that a 200 answer or a chunk may hold.
func answerError(a *chat.Answer) *Error {
	if isSet(a.Error) && string(a.Error) != "false" {
		return parseError(502, a.Error, a.Message, a.Code)
	}
	if a.Object == "error" {
		return fields(502, a.Message, a.Type, a.Code, nil)
	}
	return nil
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
	value := jsontext.Value(body)
	if !value.IsValid() {
		return defaults(&Error{Status: status, Message: "The upstream answered " + strconv.Itoa(status) + " without saying why in JSON."})
	}
	if value.Kind() == '[' {
		var list []jsontext.Value
		if json.Unmarshal(value, &list, lenient) == nil && len(list) > 0 {
			value = list[0]
		}
	}
	var flat struct {
		Error, Message, Detail, Type, Code, Param jsontext.Value
	}
	if json.Unmarshal(value, &flat, lenient, json.MatchCaseInsensitiveNames(true)) != nil {
		return defaults(&Error{Status: status, Message: "The upstream answered " + strconv.Itoa(status) + "."})
	}
	switch {
	case isSet(flat.Error):
		return parseError(status, flat.Error, flat.Message, flat.Code)
	case isSet(flat.Message):
		return fields(status, flat.Message, flat.Type, flat.Code, flat.Param)
	case isSet(flat.Detail):
		return fields(status, flat.Detail, flat.Type, flat.Code, flat.Param)
	}
	return defaults(&Error{Status: status, Message: "The upstream answered " + strconv.Itoa(status) + "."})
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
	if !isSet(e.Type) {
		e.Type = e.Status
	}
	return fields(status, e.Message, e.Type, e.Code, e.Param)
}

func fields(status int, message, typ, code, param jsontext.Value) *Error {
	e := &Error{Status: status, Message: plain(message), Type: plain(typ), Code: plain(code), Param: plain(param)}
	// A number for a code is a server's own, or the HTTP status once more.
	if n, err := strconv.Atoi(e.Code); err == nil {
		if n >= 400 && n <= 599 && status == 502 {
			e.Status = n
		}
		e.Code = ""
	}
	return defaults(e)
}

func plain(v jsontext.Value) string {
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
		case e.Status == 429 || e.Type == "rate_limit_error":
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
	"vector_store_timeout":    504,
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
	e.Code, e.Message = resp.Error.Code, resp.Error.Message
	if status, ok := failures[e.Code]; ok {
		e.Status = status
	} else if strings.Contains(e.Code, "image") {
		e.Status = 400
	}
	e.Type = typeOf(e.Status)
	return e
}
