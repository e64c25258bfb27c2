package responses

import (
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plain"
)

// Types of the stream events that this program makes or understands.
const (
	EventCreated    = "response.created"
	EventQueued     = "response.queued"
	EventInProgress = "response.in_progress"
	EventCompleted  = "response.completed"
	EventIncomplete = "response.incomplete"
	EventFailed     = "response.failed"
	EventError      = "error"

	EventItemAdded = "response.output_item.added"
	EventItemDone  = "response.output_item.done"
	EventPartAdded = "response.content_part.added"
	EventPartDone  = "response.content_part.done"

	EventTextDelta       = "response.output_text.delta"
	EventTextDone        = "response.output_text.done"
	EventAnnotationAdded = "response.output_text.annotation.added"
	EventRefusalDelta    = "response.refusal.delta"
	EventRefusalDone     = "response.refusal.done"

	EventSummaryPartAdded = "response.reasoning_summary_part.added"
	EventSummaryPartDone  = "response.reasoning_summary_part.done"
	EventSummaryDelta     = "response.reasoning_summary_text.delta"
	EventSummaryDone      = "response.reasoning_summary_text.done"
	EventReasoningDelta   = "response.reasoning_text.delta"
	EventReasoningDone    = "response.reasoning_text.done"
	// The names that the Open Responses specification has for the two above.
	EventOpenReasoningDelta = "response.reasoning.delta"
	EventOpenReasoningDone  = "response.reasoning.done"

	EventArgumentsDelta = "response.function_call_arguments.delta"
	EventArgumentsDone  = "response.function_call_arguments.done"
	EventInputDelta     = "response.custom_tool_call_input.delta"
	EventInputDone      = "response.custom_tool_call_input.done"
)

// Event is one event of a stream. Type says which members count; [Event.Append]
// writes those and no others.
type Event struct {
	Type           string `json:"type"`
	SequenceNumber int64  `json:"sequence_number"`

	ItemID          string `json:"item_id"`
	OutputIndex     int    `json:"output_index"`
	ContentIndex    int    `json:"content_index"`
	SummaryIndex    int    `json:"summary_index"`
	AnnotationIndex int    `json:"annotation_index"`

	Delta string `json:"delta"`
	// What the deltas came to, in the done events; each has its own name.
	Text      string `json:"text"`
	Refusal   string `json:"refusal"`
	Arguments string `json:"arguments"`
	Input     string `json:"input"`

	Item       *Item       `json:"item"`
	Part       *Part       `json:"part"`
	Annotation *Annotation `json:"annotation"`
	Logprobs   []Logprob   `json:"logprobs"`
	Response   *Response   `json:"response"`

	// Of an error event. Some servers nest them in an error object.
	Code    Value          `json:"code"`
	Message string         `json:"message"`
	Param   string         `json:"param"`
	Error   jsontext.Value `json:"error"`

	// Raw is the event as it came from an upstream, for types that this program
	// passes on without knowing their members.
	Raw jsontext.Value `json:"-"`
}

type member uint16

const (
	mItemID member = 1 << iota
	mOutput
	mContent
	mSummary
	mAnnotationIndex
	mDelta
	mText
	mRefusal
	mArguments
	mInput
	mItem
	mPart
	mAnnotation
	mLogprobs
	mResponse
)

// members says what each event consists of besides type and sequence_number.
// https://platform.openai.com/docs/api-reference/responses-streaming
var members = map[string]member{
	EventCreated:    mResponse,
	EventQueued:     mResponse,
	EventInProgress: mResponse,
	EventCompleted:  mResponse,
	EventIncomplete: mResponse,
	EventFailed:     mResponse,

	EventItemAdded: mOutput | mItem,
	EventItemDone:  mOutput | mItem,
	EventPartAdded: mItemID | mOutput | mContent | mPart,
	EventPartDone:  mItemID | mOutput | mContent | mPart,

	EventTextDelta:       mItemID | mOutput | mContent | mDelta | mLogprobs,
	EventTextDone:        mItemID | mOutput | mContent | mText | mLogprobs,
	EventAnnotationAdded: mItemID | mOutput | mContent | mAnnotationIndex | mAnnotation,
	EventRefusalDelta:    mItemID | mOutput | mContent | mDelta,
	EventRefusalDone:     mItemID | mOutput | mContent | mRefusal,

	EventSummaryPartAdded:   mItemID | mOutput | mSummary | mPart,
	EventSummaryPartDone:    mItemID | mOutput | mSummary | mPart,
	EventSummaryDelta:       mItemID | mOutput | mSummary | mDelta,
	EventSummaryDone:        mItemID | mOutput | mSummary | mText,
	EventReasoningDelta:     mItemID | mOutput | mContent | mDelta,
	EventReasoningDone:      mItemID | mOutput | mContent | mText,
	EventOpenReasoningDelta: mItemID | mOutput | mContent | mDelta,
	EventOpenReasoningDone:  mItemID | mOutput | mContent | mText,

	EventArgumentsDelta: mItemID | mOutput | mDelta,
	EventArgumentsDone:  mItemID | mOutput | mArguments,
	EventInputDelta:     mItemID | mOutput | mDelta,
	EventInputDone:      mItemID | mOutput | mInput,
}

// Known tells whether this package names the members of an event of this type.
func Known(typ string) bool {
	_, ok := members[typ]
	return ok
}

// Terminal tells whether an event of this type ends a response.
func Terminal(typ string) bool {
	return typ == EventCompleted || typ == EventIncomplete || typ == EventFailed
}

// Append appends the event as one line of JSON, which is never followed by a
// line end. An event of a type that this package does not name is appended from
// Raw, with its sequence number replaced.
func (e *Event) Append(b []byte) ([]byte, error) {
	has, ok := members[e.Type]
	if !ok {
		return e.appendRaw(b)
	}
	b = append(b, `{"type":"`...)
	b = append(b, e.Type...)
	b = append(b, `","sequence_number":`...)
	b = strconv.AppendInt(b, e.SequenceNumber, 10)
	var err error
	str := func(m member, name, s string) {
		if has&m == 0 {
			return
		}
		b = append(append(append(b, ',', '"'), name...), '"', ':')
		b = plain.Quote(b, s)
	}
	num := func(m member, name string, n int) {
		if has&m == 0 {
			return
		}
		b = append(append(append(b, ',', '"'), name...), '"', ':')
		b = strconv.AppendInt(b, int64(n), 10)
	}
	str(mItemID, "item_id", e.ItemID)
	num(mOutput, "output_index", e.OutputIndex)
	num(mContent, "content_index", e.ContentIndex)
	num(mSummary, "summary_index", e.SummaryIndex)
	num(mAnnotationIndex, "annotation_index", e.AnnotationIndex)
	str(mDelta, "delta", e.Delta)
	str(mText, "text", e.Text)
	str(mRefusal, "refusal", e.Refusal)
	str(mArguments, "arguments", e.Arguments)
	str(mInput, "input", e.Input)
	if has&mLogprobs != 0 {
		b = append(b, `,"logprobs":`...)
		if len(e.Logprobs) == 0 {
			b = append(b, "[]"...)
		} else {
			b, err = appendJSON(b, e.Logprobs)
		}
	}
	if has&mItem != 0 && err == nil {
		b, err = e.Item.Append(append(b, `,"item":`...))
	}
	if has&mPart != 0 && err == nil {
		b, err = e.Part.Append(append(b, `,"part":`...))
	}
	if has&mAnnotation != 0 && err == nil {
		b, err = appendJSON(append(b, `,"annotation":`...), e.Annotation)
	}
	if has&mResponse != 0 && err == nil {
		b, err = e.Response.Append(append(b, `,"response":`...))
	}
	return append(b, '}'), err
}

// appendRaw appends an event of a type that has no entry in members. Whatever the
// layout of the original, the result is one line.
func (e *Event) appendRaw(b []byte) ([]byte, error) {
	var ev struct {
		Type           string         `json:"type"`
		SequenceNumber int64          `json:"sequence_number"`
		ItemID         *string        `json:"item_id,omitzero"`
		OutputIndex    *int           `json:"output_index,omitzero"`
		Rest           jsontext.Value `json:",embed"`
	}
	if err := json.Unmarshal(e.Raw, &ev, marshalOptions); err != nil {
		return b, err
	}
	ev.Type, ev.SequenceNumber = e.Type, e.SequenceNumber
	if ev.ItemID != nil {
		ev.ItemID = &e.ItemID
	}
	if ev.OutputIndex != nil {
		ev.OutputIndex = &e.OutputIndex
	}
	return appendJSON(b, &ev)
}

// marshalOptions: names were found unique and text valid when they were read, or
// come from this program.
var marshalOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

func appendJSON(b []byte, v any) ([]byte, error) {
	out, err := json.Marshal(v, marshalOptions)
	return append(b, out...), err
}
