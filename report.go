package chat2response

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/labiium/chat2response/convert"
)

// returned are the headers of an upstream that a translated answer takes along.
var returned = []string{
	"Openai-Processing-Ms", "Openai-Version", "Retry-After", "Retry-After-Ms", "X-Request-Id", "X-Should-Retry",
}

const maxReturned = 1 << 10 // bytes of one header

func (x *exchange) copyHeaders() {
	to := x.w.Header()
	for name, values := range x.resp.header {
		lower := strings.ToLower(name)
		// The limits of an account that a key's owner shares are not the key's.
		limits := strings.HasPrefix(lower, "x-ratelimit-") && !x.up.shared()
		if !limits && !slices.Contains(returned, name) {
			continue
		}
		if len(values) > 0 && len(values[0]) <= maxReturned {
			to.Set(name, values[0])
		}
	}
}

// maxWarnings bounds the header of warnings; proxies take 4 KiB or more in all.
const maxWarnings = 2 << 10

// warn says what could not be carried over.
func (x *exchange) warn() {
	if report := x.losses(); len(report) > 0 {
		x.w.Header().Set("X-Chat2Response-Warnings", headerSafe(warnings(report)))
	}
}

// losses are what became of the request otherwise than it asks.
func (x *exchange) losses() convert.Report {
	var report convert.Report
	if x.turn != nil {
		report = x.turn.Report
	}
	if x.unkept {
		report = append(slices.Clip(report), convert.Loss{Param: "store", What: "not stored"})
	}
	return report
}

func warnings(report convert.Report) string {
	var b strings.Builder
	for i, loss := range report {
		if i > 0 {
			b.WriteString(", ")
		}
		s := loss.String()
		if b.Len()+len(s) > maxWarnings {
			fmt.Fprintf(&b, "and %d more", report[i:].Members())
			break
		}
		b.WriteString(s)
	}
	return b.String()
}

// headerSafe replaces what a header value may not have: a client chose the names
// in it.
func headerSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// fail answers with an error, if nothing has been answered.
func (x *exchange) fail(e *convert.Error) {
	if x.outcome == "" {
		x.outcome = "refused"
	}
	x.logFailure(e)
	if x.begun {
		return
	}
	out := *e
	out.Message = x.redact(out.Message)
	if out.Status < 400 || out.Status > 599 {
		out.Status = http.StatusBadGateway
	}
	if x.r.Close {
		// net/http reads what is left of a body only where the connection goes on. Where it does not, it would be
		// reset under the client's hands, who would never see the error.
		_, _ = io.CopyN(io.Discard, x.r.Body, maxUnread)
	}
	x.warn()
	writeError(x.w, &out)
}

// maxUnread is how much is read of the body of a refused request, as net/http does.
const maxUnread = 256 << 10

// logFailure logs what is an upstream's fault.
func (x *exchange) logFailure(e *convert.Error) {
	if e.Status < 500 || e == errBusy {
		return
	}
	fields := []zap.Field{
		zap.String("message", redact(e.Message)), zap.String("code", e.Code), zap.Int("status", e.Status),
		zap.String("outcome", x.outcome), zap.String("model", x.model), zap.Bool("streaming", x.begun),
	}
	if x.cause != nil {
		fields = append(fields, zap.Error(x.cause))
	}
	x.h.logger.Error("upstream failed", fields...)
}

// log adds what is known of the exchange to the access log and the metrics. The
// fields are made only where a log is written.
func (x *exchange) log() {
	x.count()
	if extra, ok := x.r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Add(zap.Inline(logged{x}))
	}
}

// logged is an exchange that has ended, as fields of a log.
type logged struct{ x *exchange }

// MarshalLogObject adds the fields.
func (l logged) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	x := l.x
	enc.AddString("chat2response_route", x.route.name)
	if x.outcome != "" {
		enc.AddString("chat2response_outcome", x.outcome)
	}
	if x.model != "" {
		enc.AddString("chat2response_model", x.model)
	}
	if x.up != nil {
		enc.AddString("chat2response_mode", string(x.up.Mode))
	}
	if report := x.losses(); len(report) > 0 {
		enc.AddString("chat2response_warnings", warnings(report))
	}
	if x.req != nil {
		enc.AddBool("chat2response_stream", x.stream)
	}
	if x.last != nil && x.last.Usage != nil {
		enc.AddInt64("chat2response_input_tokens", x.last.Usage.InputTokens)
		enc.AddInt64("chat2response_output_tokens", x.last.Usage.OutputTokens)
	}
	return nil
}
