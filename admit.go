package chat2response

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/keystore"
)

// admit checks the client's key and takes one of its places. The place is given
// back by x.leave, when the answer has ended.
func (x *exchange) admit() error {
	k := x.h.Keys
	if k == nil || k.Passthrough {
		return nil
	}
	token, err := credential(x.r.Header)
	if err != nil {
		return err
	}
	keys, release, err := k.ring.use(x.r.Context())
	if err != nil {
		return x.keyError(keystore.ErrStoreUnavailable)
	}
	x.leaves = append(x.leaves, release)
	key, err := keys.Verify(x.r.Context(), token)
	if err != nil {
		return x.keyError(err)
	}
	x.key = key
	x.logKey(key.ID)
	if err := key.CheckEndpoint(x.route.scope(x.r.Method)); err != nil {
		return x.keyError(err)
	}
	leave, quota, err := keys.Admit(key)
	quota.Header(x.w.Header().Set)
	if err != nil {
		return x.keyError(err)
	}
	x.leaves = append(x.leaves, leave)
	x.endWithKey(keys)
	return nil
}

// endWithKey has what the client has begun ended when its key is.
func (x *exchange) endWithKey(keys *keystore.Keys) {
	ended, end := context.WithCancelCause(context.WithoutCancel(x.r.Context()))
	stop := keys.Watch(x.key, end)
	ctx, cancel := context.WithCancelCause(x.r.Context())
	unhook := context.AfterFunc(ended, func() { cancel(context.Cause(ended)) })
	x.r, x.keyed = x.r.WithContext(ctx), ended
	// The request itself may go on, to read what a background response has written.
	x.leaves = append(x.leaves, func() { stop(); unhook(); end(nil) })
}

// keyEnded is why the client's key has ended since the request began, nil if it has not.
func (x *exchange) keyEnded() *convert.Error {
	if x.keyed == nil {
		return nil
	}
	var e *keystore.Error
	if !errors.As(context.Cause(x.keyed), &e) {
		return nil
	}
	return &convert.Error{Status: e.Status, Type: e.Type, Code: e.Code, Param: e.Param, Message: e.Message}
}

// leave gives back what admit has taken.
func (x *exchange) leave() {
	for i := len(x.leaves) - 1; i >= 0; i-- {
		x.leaves[i]()
	}
}

// logKey tells Caddy who the client is, as its own authentication modules do.
func (x *exchange) logKey(id string) {
	repl := x.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.auth.user.id", id)
	if extra, ok := x.r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Add(zap.String("chat2response_key", id))
	}
}

// byModel tells whether the model of the request matters here.
func (x *exchange) byModel() bool {
	return x.h.byModel() || x.key != nil && x.key.Models != nil
}

// allowModel checks that the client's key may use a model: the one that the
// client names, and the one that the upstream is asked for, "" if that is the same.
func (x *exchange) allowModel(model, alias string) error {
	if x.key == nil {
		return nil
	}
	if model == "" && x.key.Models != nil {
		return x.keyError(keystore.ErrModelNotAllowed) // the upstream would choose one
	}
	for _, model := range []string{model, alias} {
		if model == "" {
			continue
		}
		if err := x.key.CheckModel(model); err != nil {
			return x.keyError(err)
		}
	}
	return nil
}

// credential is the client's key. It is taken from one header, or from two that
// agree: a program between that reads another one than we do must not be able to
// let a request pass.
func credential(header http.Header) (string, error) {
	ambiguous := &convert.Error{
		Status: http.StatusUnauthorized, Type: "invalid_request_error", Code: "invalid_api_key",
		Message: "Ambiguous credentials: send one API key, as 'Authorization: Bearer <key>'.",
	}
	token := ""
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key"} {
		values := header.Values(name)
		if len(values) > 1 {
			return "", ambiguous
		}
		if len(values) == 0 || values[0] == "" {
			continue
		}
		value := values[0]
		if name == "Authorization" {
			scheme, rest, _ := strings.Cut(value, " ")
			if !strings.EqualFold(scheme, "Bearer") {
				continue
			}
			value = strings.TrimSpace(rest)
		}
		if token != "" && token != value {
			return "", ambiguous
		}
		token = value
	}
	return token, nil
}

// keysLog lets those without a key write a line a second.
var keysLog = rate.Sometimes{Interval: time.Second}

// keyError makes a refusal of the keystore an error for the client, with its
// headers.
func (x *exchange) keyError(err error) error {
	var e *keystore.Error
	if !errors.As(err, &e) {
		e = keystore.ErrStoreUnavailable
	}
	if cause := errors.Unwrap(e); cause != nil {
		keysLog.Do(func() { x.h.logger.Warn("checking an API key", zap.Int("status", e.Status), zap.Error(cause)) })
	}
	x.outcome = "unauthorized"
	switch e.Status {
	case http.StatusServiceUnavailable:
		x.outcome = "key_store_unavailable"
	case http.StatusTooManyRequests:
		x.outcome = "rate_limited"
	}
	keyHeaders(x.w.Header(), e)
	return &convert.Error{Status: e.Status, Type: e.Type, Code: e.Code, Param: e.Param, Message: e.Message}
}
