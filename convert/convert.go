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
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
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
	// items have none.
	Sealer *Sealer
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
	// NewID makes an id that begins with prefix, such as "msg_". Default: random.
	NewID func(prefix string) string
	// Now is the clock. Default: [time.Now].
	Now func() time.Time

	queued *responses.Response // see [Turn.Queue]

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

// Loss is one member of a request that could not be carried over as it was.
type Loss struct {
	// Param is the member's path in the client's request, such as tools[2].
	Param string
	// What became of it, such as "dropped" or "raised to 16".
	What string
}

// Field is the path without indices, as a label of few values: tools[2].format
// becomes tools.format. What is not a name of either API becomes "unknown".
func (l Loss) Field() string {
	var b strings.Builder
	for i, segment := range strings.Split(l.Param, ".") {
		name, _, _ := strings.Cut(segment, "[")
		known := vocabulary[name]
		if i == 0 {
			known = chatMembers[name] || responsesMembers[name]
		} else {
			b.WriteByte('.')
		}
		if !known {
			b.WriteString("unknown")
			return b.String() // what is behind it is the client's invention too
		}
		b.WriteString(name)
	}
	return b.String()
}

// vocabulary are the names of the members of all objects in requests.
var vocabulary = merged(
	memberNames[chat.Message](), memberNames[chat.Part](), memberNames[chat.ImageURL](), memberNames[chat.File](),
	memberNames[chat.Tool](), memberNames[chat.Function](), memberNames[chat.Custom](), memberNames[chat.Format](),
	memberNames[chat.Grammar](), memberNames[chat.ToolCall](), memberNames[chat.FunctionCall](), memberNames[chat.CustomCall](),
	memberNames[chat.ResponseFormat](), memberNames[chat.JSONSchema](), memberNames[chat.StreamOptions](),
	memberNames[chat.WebSearchOptions](), memberNames[chat.UserLocation](), memberNames[chat.ToolChoice](),
	memberNames[chat.AllowedTools](), memberNames[chat.ReasoningBlock](),
	memberNames[responses.Item](), memberNames[responses.Part](), memberNames[responses.Tool](), memberNames[responses.Format](),
	memberNames[responses.TextConfig](), memberNames[responses.TextFormat](), memberNames[responses.Reasoning](),
	memberNames[responses.ToolChoice](),
	map[string]bool{"ttl": true, "mode": true, "prewarm": true, "comparison_response_id": true}, // of prompt_cache_options
)

func merged(sets ...map[string]bool) map[string]bool {
	all := map[string]bool{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	return all
}

func (l Loss) String() string { return l.Param + "=" + l.What }

// Report is what a translation could not carry over.
type Report []Loss

func (r *Report) add(param, format string, args ...any) {
	if param == "" {
		param = `""` // a member without a name has one in the report
	}
	*r = append(*r, Loss{param, fmt.Sprintf(format, args...)})
}

// hint leaves out a member that only hints, or refuses it where o is strict.
func (r *Report) hint(o *Options, param, why string) error {
	return r.change(o, param, "dropped", why)
}

// change carries a member over in another form, or refuses it where o is strict.
func (r *Report) change(o *Options, param, what, why string) error {
	if o.Strict {
		return unsupported(param, "Unsupported parameter: '%s' cannot be carried over to the upstream (%s), and this gateway is strict. Remove it.", param, why)
	}
	r.add(param, "%s", what)
	return nil
}

// strays leaves out the members of an object that are not T's: other servers'
// extensions and what is newer than this package. The object stands at the path
// at. Of members that say nothing, or that are silent, nothing is lost.
func strays[T any](r *Report, o *Options, at string, unknown jsontext.Value, silent ...string) error {
	if len(unknown) == 0 {
		return nil
	}
	known := memberNames[T]()
	for name, value := range eachMember(unknown) {
		if err := wrongCase(name, known, at+"."); err != nil {
			return err
		}
		if value.Kind() == 'n' || string(value) == "[]" || slices.Contains(silent, name) {
			continue
		}
		if err := r.hint(o, at+"."+name, "its API has no such member"); err != nil {
			return err
		}
	}
	return nil
}
