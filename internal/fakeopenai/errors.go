package fakeopenai

import (
	"fmt"
	"strings"
)

// apiError is a refusal. Param and code are any because OpenAI writes null where it has none.
type apiError struct {
	status  int
	message string
	kind    string // the member `type`
	param   any
	code    any
	header  [][2]string
	detail  any // Mistral: what stands in `message` instead of a string
	inner   any // Azure: innererror
}

func refuse(param, code any, format string, args ...any) *apiError {
	return &apiError{status: 400, message: fmt.Sprintf(format, args...), kind: "invalid_request_error", param: param, code: code}
}

// The refusals that every table of this package ends in.

func unknownParameter(path string) *apiError {
	return refuse(path, "unknown_parameter", "Unknown parameter: '%s'.", path)
}

func missingParameter(path string) *apiError {
	return refuse(path, "missing_required_parameter", "Missing required parameter: '%s'.", path)
}

func unsupportedParameter(path, why string) *apiError {
	return refuse(path, "unsupported_parameter", "Unsupported parameter: '%s'%s", path, why)
}

func wrongType(path, expected string, got any) *apiError {
	return refuse(path, "invalid_type", "Invalid type for '%s': expected %s, but got %s instead.", path, expected, kindOf(got).article())
}

func wrongValue(param, got string, supported []string) *apiError {
	if len(supported) == 1 {
		return refuse(param, "invalid_value", "Invalid value: '%s'. Value must be '%s'.", got, supported[0])
	}
	return refuse(param, "invalid_value", "Invalid value: '%s'. Supported values are: %s.", got, quotedList(supported))
}

func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = "'" + n + "'"
	}
	switch n := len(quoted); n {
	case 1:
		return quoted[0]
	case 2:
		return quoted[0] + " and " + quoted[1]
	default:
		return strings.Join(quoted[:n-1], ", ") + ", and " + quoted[n-1]
	}
}

// errorBody renders an error as OpenAI does; the other dialects' forms are errorStyles.
func errorBody(e *apiError) obj {
	return obj{{"error", errorMembers(e)}}
}

func errorMembers(e *apiError) obj {
	return obj{{"message", e.message}, {"type", e.kind}, {"param", e.param}, {"code", e.code}}
}

// errorStyles are the error bodies of the families of servers that do not send OpenAI's.
var errorStyles = map[string]func(*apiError) any{
	"azure": func(e *apiError) any {
		if e.status == 401 || e.status == 429 { // these come from the gateway in front of the model
			return obj{{"error", obj{{"code", fmt.Sprint(e.status)}, {"message", e.message}}}}
		}
		body := errorMembers(e)
		if e.inner != nil {
			body = body.set("status", e.status).set("innererror", e.inner)
		}
		return obj{{"error", body}}
	},
	"vllm": func(e *apiError) any { // the flat body of versions before 0.10
		return obj{{"object", "error"}, {"message", e.message}, {"type", vllmErrorType(e.status)}, {"param", e.param}, {"code", e.status}}
	},
	"mistral": func(e *apiError) any {
		if e.detail != nil {
			return obj{{"object", "error"}, {"message", e.detail}, {"type", e.kind}, {"param", nil}, {"code", nil}}
		}
		return obj{{"object", "error"}, {"message", e.message}, {"type", e.kind}, {"param", nil}, {"code", e.code}, {"raw_status_code", e.status}}
	},
	"gemini": func(e *apiError) any { // an array, also for a single error
		return []any{obj{{"error", obj{{"code", e.status}, {"message", e.message}, {"status", googleStatus(e.status)}}}}}
	},
	"llama.cpp": func(e *apiError) any {
		return obj{{"error", obj{{"code", e.status}, {"message", e.message}, {"type", e.kind}}}}
	},
	"ollama": func(e *apiError) any {
		kind := map[int]string{400: "invalid_request_error", 404: "not_found_error"}[e.status]
		if kind == "" {
			kind = "api_error"
		}
		return obj{{"error", obj{{"message", e.message}, {"type", kind}, {"param", nil}, {"code", nil}}}}
	},
	"openrouter": func(e *apiError) any {
		return obj{{"error", obj{{"message", e.message}, {"code", e.status}, {"metadata", obj{{"provider_name", "Fake"}}}}}, {"user_id", "user_fake"}}
	},
	"glm": func(e *apiError) any {
		return obj{{"error", obj{{"code", "1210"}, {"message", e.message}}}}
	},
	"xai": func(e *apiError) any { // the member `error` is a string
		return obj{{"code", "Client specified an invalid argument"}, {"error", e.message}}
	},
}

func (d *dialect) errorJSON(e *apiError) []byte {
	if style := errorStyles[d.family]; style != nil {
		return toJSON(style(e))
	}
	return toJSON(errorBody(e))
}

func vllmErrorType(status int) string {
	switch status {
	case 400, 422:
		return "BadRequestError"
	case 401:
		return "AuthenticationError"
	case 404:
		return "NotFoundError"
	case 429:
		return "TooManyRequestsError"
	}
	return "InternalServerError"
}

func googleStatus(status int) string {
	switch status {
	case 400, 422:
		return "INVALID_ARGUMENT"
	case 401:
		return "UNAUTHENTICATED"
	case 404:
		return "NOT_FOUND"
	case 429:
		return "RESOURCE_EXHAUSTED"
	case 503:
		return "UNAVAILABLE"
	}
	return "INTERNAL"
}

// pick returns a for chat and b for responses.
func pick[T any](api API, a, b T) T {
	if api == Chat {
		return a
	}
	return b
}

// failures are the scenarios that fail before anything is sent.
func failure(scenario string, api API, model string) *apiError {
	switch scenario {
	case "error400":
		return refuse(pick(api, "messages", "input"), "context_length_exceeded", "%s", pick(api,
			"This model's maximum context length is 128000 tokens. However, your messages resulted in 128123 tokens. Please reduce the length of the messages.",
			"Your input exceeds the context window of this model. Please adjust your input and try again."))
	case "error401":
		return badKey("sk-fake****")
	case "error404":
		return noModel(model)
	case "error429":
		return &apiError{status: 429, kind: "requests", code: "rate_limit_exceeded",
			message: "Rate limit reached for " + model + " in organization org-fake on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 1s.",
			header: [][2]string{{"Retry-After", "1"}, {"Retry-After-Ms", "1000"},
				{"X-Ratelimit-Limit-Requests", "3"}, {"X-Ratelimit-Remaining-Requests", "0"}, {"X-Ratelimit-Reset-Requests", "1s"},
				{"X-Ratelimit-Limit-Tokens", "40000"}, {"X-Ratelimit-Remaining-Tokens", "39000"}, {"X-Ratelimit-Reset-Tokens", "1.5s"}}}
	case "error500":
		return serverError(500)
	case "error503":
		return &apiError{status: 503, kind: "service_unavailable_error", message: "The engine is currently overloaded, please try again later",
			header: [][2]string{{"Retry-After", "1"}}}
	case "errorfilter":
		return &apiError{status: 400, kind: "invalid_request_error", param: "prompt", code: pick(api, "content_filter", "invalid_prompt"),
			message: "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt.",
			inner:   obj{{"code", "ResponsibleAIPolicyViolation"}, {"content_filter_result", contentFilter(true)}}}
	}
	return nil
}

func serverError(status int) *apiError {
	return &apiError{status: status, kind: "server_error", code: nil,
		message: "The server had an error while processing your request. Sorry about that!"}
}

func badKey(key string) *apiError {
	return &apiError{status: 401, kind: "invalid_request_error", code: "invalid_api_key",
		message: "Incorrect API key provided: " + key + ". You can find your API key at https://platform.openai.com/account/api-keys."}
}

func noModel(model string) *apiError {
	return &apiError{status: 404, kind: "invalid_request_error", code: "model_not_found",
		message: "The model `" + model + "` does not exist or you do not have access to it."}
}
