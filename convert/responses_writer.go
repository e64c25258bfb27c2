package convert

import (
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// responsesWriter writes the events of a response as a Responses stream and
// numbers them.
type responsesWriter struct {
	w   *sse.Writer
	seq int64
}

// Event writes an event. A failure is told twice: SDKs raise on the error event,
// which Codex ignores; only response.failed carries an error to it. The error
// event is both flat, as in OpenAI's types, and nested, as in Open Responses'.
func (r *responsesWriter) Event(e *responses.Event) error {
	if e.Type == responses.EventFailed {
		if err := r.failure(e.Response); err != nil {
			return err
		}
	}
	e.SequenceNumber = r.seq
	r.seq++
	b, err := e.Append(r.w.Begin(e.Type))
	if err != nil {
		return err
	}
	if err := r.w.End(b); err != nil || !responses.Terminal(e.Type) {
		return err
	}
	return r.w.Event("", done)
}

func (r *responsesWriter) failure(resp *responses.Response) error {
	e := FailedError(resp)
	b := r.w.Begin(responses.EventError)
	b = append(b, `{"type":"error","sequence_number":`...)
	b = appendInt(b, r.seq)
	b = appendQuoted(append(b, `,"code":`...), e.Code)
	b = appendQuoted(append(b, `,"message":`...), e.Message)
	b = append(b, `,"param":null,"error":`...)
	r.seq++
	return r.w.End(append(e.Append(b), '}'))
}
