// Package convert translates between OpenAI's Chat Completions and Responses
// APIs: requests, answers and streams, in both directions.
//
// The canonical form is Responses. A Chat request is read into a
// [responses.Request], a Chat answer into a [responses.Response] or a run of
// [responses.Event], and each of these is written as Chat where Chat is spoken;
// so there are two readers and two writers, not four translators.
//
// Nothing is lost in silence. What the other API has no word for is left out and
// named in a [Report], or refused with an [Error] when leaving it out would
// change what was asked for; [Options.Strict] refuses both.
//
// For a whole exchange, [Read] the client's request, [Request.To] the upstream's
// API, and let the [Turn] read the upstream's answer. [ToResponses] and [ToChat]
// translate a request alone.
//
// All functions are safe for concurrent use; the values they return are not.
package convert

import (
	"fmt"
	"strings"
	"time"
)

// API is one of OpenAI's two APIs for generating text.
type API string

// The two APIs.
const (
	Chat      API = "chat"      // POST /v1/chat/completions
	Responses API = "responses" // POST /v1/responses
)

// Options say how to translate. The zero value is ready to use.
type Options struct {
	// Dialect is what is particular about the upstream. Default: generic.
	Dialect *Dialect
	// Strict refuses what would otherwise be left out and reported.
	Strict bool
	// Model is the upstream's name for the model. Default: the client's.
	Model string
	// Sealer makes the encrypted_content in which a client without stored state
	// carries the model's reasoning from turn to turn. Without one, reasoning
	// items have none.
	Sealer *Sealer
	// DropHosted leaves out, and reports, tools that run at OpenAI and that the
	// request relies on (file_search, code_interpreter, image_generation, computer,
	// mcp); else they are refused.
	DropHosted bool
	// Reasoning is the form in which a Responses client sees the reasoning of a
	// Chat upstream. Default: [ReasoningSummary].
	Reasoning ReasoningForm
	// NewID makes an id that begins with prefix, such as "msg_". Default: random.
	NewID func(prefix string) string
	// Now is the clock. Default: [time.Now].
	Now func() time.Time
}

func (o *Options) dialect() *Dialect {
	if o.Dialect == nil {
		return &generic
	}
	return o.Dialect
}

// ReasoningForm is how reasoning text appears in a Responses answer.
type ReasoningForm string

// The forms. OpenAI's servers stream summaries, and every known client shows
// them; text is what servers of open models such as LM Studio stream.
const (
	ReasoningSummary ReasoningForm = "summary" // reasoning_summary_text events
	ReasoningText    ReasoningForm = "text"    // reasoning_text events
	ReasoningOff     ReasoningForm = "off"     // no reasoning items, unless they carry encrypted_content
)

// Loss is one member of a request that could not be carried over as it was.
type Loss struct {
	// Param is the member's path in the client's request, such as tools[2].
	Param string
	// What became of it, such as "dropped" or "raised to 16".
	What string
}

// Field is the path without indices, as a bounded label: tools[2].format
// becomes tools.format. Members outside both APIs become "unknown".
func (l Loss) Field() string {
	var b strings.Builder
	skip := false
	for _, r := range l.Param {
		switch {
		case r == '[':
			skip = true
		case r == ']':
			skip = false
		case !skip:
			b.WriteRune(r)
		}
	}
	top, _, _ := strings.Cut(b.String(), ".")
	if !chatMembers[top] && !responsesMembers[top] {
		return "unknown"
	}
	return b.String()
}

func (l Loss) String() string { return l.Param + "=" + l.What }

// Report is what a translation could not carry over.
type Report []Loss

func (r *Report) add(param, format string, args ...any) {
	*r = append(*r, Loss{param, fmt.Sprintf(format, args...)})
}

// hint leaves out a member that only hints, or refuses it where o is strict.
func (r *Report) hint(o *Options, param, why string) error {
	if o.Strict {
		return unsupported(param, "Unsupported parameter: '%s' cannot be carried over to the upstream (%s), and this gateway is strict. Remove it.", param, why)
	}
	r.add(param, "dropped")
	return nil
}
