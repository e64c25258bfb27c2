package keystore

import (
	"fmt"
	"net/http"
	"time"
)

// Error is a refusal as the client will see it. Compare with errors.Is against the sentinels below, which looks at
// Status and Code only. The cause is for logs (errors.Unwrap), never for the client.
type Error struct {
	Status  int    // HTTP status
	Type    string // error.type of OpenAI's error body
	Code    string // error.code
	Message string // error.message
	Param   string // error.param; "" is null
	// RetryAfter is what the Retry-After header says; 0: no header.
	RetryAfter time.Duration
	cause      error
}

const (
	invalidRequest = "invalid_request_error"
	serverError    = "server_error"
)

// The refusals. Codes and statuses follow OpenAI's (platform.openai.com/docs/guides/error-codes); the texts of the
// three 401 are the original's. 401 makes clients and their owners throw a key away, so a store that does not answer
// is never a 401.
var (
	ErrInvalidKey       = &Error{Status: http.StatusUnauthorized, Type: invalidRequest, Code: "invalid_api_key", Message: "Invalid API key"}
	ErrRevoked          = &Error{Status: http.StatusUnauthorized, Type: invalidRequest, Code: "api_key_revoked", Message: "API key revoked"}
	ErrExpired          = &Error{Status: http.StatusUnauthorized, Type: invalidRequest, Code: "api_key_expired", Message: "API key expired"}
	ErrModelNotAllowed  = &Error{Status: http.StatusForbidden, Type: invalidRequest, Code: "model_not_allowed", Message: "This API key may not use this model", Param: "model"}
	ErrScopeMissing     = &Error{Status: http.StatusForbidden, Type: invalidRequest, Code: "scope_missing", Message: "This API key lacks a scope"}
	ErrRateLimited      = &Error{Status: http.StatusTooManyRequests, Type: "requests", Code: "rate_limit_exceeded", Message: "Rate limit reached"}
	ErrStoreUnavailable = &Error{Status: http.StatusServiceUnavailable, Type: serverError, Code: "key_store_unavailable", Message: "API keys cannot be checked at the moment; try again", RetryAfter: 2 * time.Second}

	// Of the administrative methods only:
	ErrInvalidValue = &Error{Status: http.StatusBadRequest, Type: invalidRequest, Code: "invalid_value", Message: "Invalid value"}
	ErrNoSuchKey    = &Error{Status: http.StatusNotFound, Type: invalidRequest, Code: "key_not_found", Message: "No such API key", Param: "id"}
	ErrKeyNotActive = &Error{Status: http.StatusConflict, Type: invalidRequest, Code: "key_not_active", Message: "API key is not active", Param: "id"}
	ErrRotated      = &Error{Status: http.StatusConflict, Type: invalidRequest, Code: "key_already_rotated", Message: "API key was rotated before", Param: "id"}
	// ErrRevocationNotDurable and ErrExpirationNotDurable: the act holds in this process, at once and over reloads, and
	// the store did not take it; Maintain tries to write it until the process ends. The cause says why it did not.
	ErrRevocationNotDurable = &Error{
		Status: http.StatusServiceUnavailable, Type: serverError, Code: "revocation_not_durable", RetryAfter: 2 * time.Second,
		Message: "The API key is revoked in this gateway until it restarts; " +
			"this is NOT written to the key store, and is tried again every minute",
	}
	ErrExpirationNotDurable = &Error{
		Status: http.StatusServiceUnavailable, Type: serverError, Code: "expiration_not_durable", RetryAfter: 2 * time.Second,
		Message: "The API key's nearer end holds in this gateway until it restarts; " +
			"it is NOT written to the key store, and is tried again every minute",
	}
	ErrContended = &Error{Status: http.StatusConflict, Type: serverError, Code: "key_contended", Message: "API key is being changed by others; try again", RetryAfter: time.Second}
)

func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause, for instance store.ErrUnavailable.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an *Error of the same status and code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Status == e.Status && t.Code == e.Code
}

func (e *Error) because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

func (e *Error) about(format string, args ...any) *Error {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// invalid is a 400 about one member of a request.
func invalid(param, format string, args ...any) *Error {
	e := ErrInvalidValue.about(format, args...)
	e.Param = param
	return e
}
