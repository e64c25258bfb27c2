package chat2response

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/labiium/chat2response/convert"
)

// writeError answers with OpenAI's error body.
func writeError(w http.ResponseWriter, e *convert.Error) {
	body := e.Body()
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(e.Status)
	w.Write(body)
}

// notAllowed is the error of a wrong method, whose answer lists the right ones.
func notAllowed(w http.ResponseWriter, allowed []string, method string) error {
	allow := strings.Join(allowed, ", ")
	w.Header().Set("Allow", allow)
	return &convert.Error{
		Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_allowed",
		Message: "Method " + method + " is not allowed here; use " + allow + ".",
	}
}

// upstreamError turns what Caddy's handlers return into OpenAI's error. A text of
// Caddy's names addresses that are not the client's business; it goes to the log.
func upstreamError(err error) *convert.Error {
	var e caddyhttp.HandlerError
	status := http.StatusBadGateway
	if errors.As(err, &e) && e.StatusCode != 0 {
		status = e.StatusCode
	}
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return tooLarge(over.Limit)
	}
	out := &convert.Error{Status: status, Type: "server_error", Code: "upstream_unavailable"}
	switch {
	case errors.Is(err, context.Canceled):
		out.Status, out.Code, out.Message = statusClientGone, "cancelled", "The request was cancelled."
	case status == http.StatusGatewayTimeout:
		out.Code, out.Message = "upstream_timeout", "The upstream did not answer in time."
	case status == http.StatusServiceUnavailable:
		out.Message = "No upstream is available."
	case status == http.StatusBadGateway:
		out.Message = "The upstream could not be reached."
	default:
		out.Message = "The upstream's handler answered " + strconv.Itoa(status) + "."
		if status < 500 {
			out.Type, out.Code = "invalid_request_error", ""
		}
	}
	return out
}

// broken is the failure of an answer that stopped in the middle.
var broken = &convert.Error{
	Status: http.StatusBadGateway, Type: "server_error", Code: "server_error",
	Message: "The upstream's connection broke before the answer was complete.",
}

// secrets are what a message of an upstream may repeat and a client must not see:
// keys, and passwords in URLs. OpenAI quotes a part of the key it refuses. A key stands by
// itself: in the middle of a word, its beginning is a part of an id.
var secrets = regexp.MustCompile(`(?i)(^|[^a-z0-9_-])(?:sk|rk|gsk|xai|key)[-_][a-z0-9_*.-]{8,}|bearer +[a-z0-9._~+/-]{8,}=*|//[^/@\s:"]+:[^/@\s"]+@`)

// redact removes secrets from a message.
func redact(message string) string {
	return secrets.ReplaceAllString(message, "${1}[redacted]")
}
