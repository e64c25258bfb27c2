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
	"time"

	"github.com/labiium/chat2response/convert/responses"
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
	// Strict refuses what would otherwise be left out or changed, and reported. The
	// one exception is the model's own earlier reasoning, which clients send back
	// without having asked for it: where an upstream takes none it is left out and
	// reported here too.
	Strict bool
	// Model is the upstream's name for the model. Default: the client's.
	Model string
	// Sealer makes the encrypted_content in which a client without stored state
	// carries the model's reasoning from turn to turn. Without one, reasoning
	// items have none. Where several clients share a gateway it is one for its owner
	// ([Sealer.For]).
	Sealer *Sealer
	// Unpack is asked before encrypted_content is unpacked: how many bytes of memory the
	// request will take for it, which is a multiple of its size. The same content is
	// counted each time that it is sent. An error refuses the request, and is returned by
	// [Request.To] as it is. It is called by the goroutine that translates. Default: what
	// one request unpacks is at most 32 MiB in all.
	Unpack func(bytes int64) error
	// Hold is asked as an answer of the upstream's grows, for each 64 KiB of it that are
	// kept but the first: how many bytes of memory more it takes, which is a multiple of
	// that. An error fails the answer: it is the failure's, if it is an *[Error], or its
	// text is. Nothing is given back: the caller knows when the answer has been sent. It
	// is called by the goroutine that feeds the reader. Default: none; in any case 64 MiB
	// is what is kept of one answer.
	Hold func(bytes int64) error
	// DropHosted leaves out, and reports, tools that run at OpenAI and that the
	// request relies on (file_search, code_interpreter, image_generation, computer,
	// mcp); else they are refused.
	DropHosted bool
	// Reasoning is the form in which a Responses client sees the reasoning of a
	// Chat upstream. Default: [ReasoningSummary].
	Reasoning ReasoningForm
	// Stored tells that the answer can be asked for later: it is what its member
	// store says, and what else it needs, such as background, is seen to by the
	// caller. Default: false.
	Stored bool
	// Carry seals the model's reasoning although the client does not carry it: the
	// gateway itself does, between the turns of a [Splice].
	Carry bool
	// HideID gives a Chat client an id of its own for the answer of a Responses upstream,
	// whose response's id it would be told else: it is one to be asked for with. Default:
	// false.
	HideID bool
	// NewID makes an id that begins with prefix, such as "msg_". Default: random.
	NewID func(prefix string) string
	// Now is the clock. Default: [time.Now].
	Now func() time.Time

	queued *responses.Response // see [Turn.Queue]

	remarks *int // see [Turn.Remarks]

	unpacked int64 // bytes of opened content, where there is no Unpack

	past int // how many items of the input are not the request's own
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
