package convert

import (
	"errors"

	"github.com/labiium/chat2response/convert/responses"
)

// What an upstream says is kept until its answer ends, as the terminal event repeats it. How much that is, is bounded
// and on an account.

const (
	// maxKept bounds what is kept of one answer in bytes.
	maxKept = 64 << 20
	// heldStep is how many bytes more of an answer are taken on the account at a time; the first are on none.
	heldStep = 64 << 10
	// heldWeight is how many bytes of memory an answer takes for each that is kept: its text, in a buffer that has grown
	// by a quarter more than it needs, and the events that repeat it at its end, of its part, its item and its response.
	// BenchmarkKeeping measures 1.1 while it grows, and 3.4 more at its end.
	heldWeight = 5

	itemWeight = 2 << 10 // of an item, beside its text
	partWeight = 512     // of a part or an annotation
	callWeight = 512     // of a call that has no item yet
)

// tooLong fails an answer of which too much would be kept.
var tooLong = &Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The upstream's answer is too large to be translated."}

// lostPiece fails one whose text has been told with a hole in it.
var lostPiece = &Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The upstream's answer has more text than its events told."}

// keep takes n bytes of the answer on the account. Where there is no room it reports so, and the answer fails.
func (l *ladder) keep(n int) bool {
	if l.cause != nil {
		return false
	}
	if l.kept += int64(n); l.kept > maxKept {
		l.cause = tooLong
		return false
	}
	for l.kept-l.held > heldStep {
		l.held += heldStep
		if l.o.Hold == nil {
			continue
		}
		if err := l.o.Hold(heldStep * heldWeight); err != nil {
			if !errors.As(err, &l.cause) {
				l.cause = &Error{Status: 502, Type: "server_error", Code: "server_error", Message: err.Error()}
			}
			return false
		}
	}
	return true
}

// weightOf is how much memory log probabilities take beside their text.
func weightOf(probs []responses.Logprob) int {
	n := 0
	for i := range probs {
		n += 128 + 9*len(probs[i].Token)
		for k := range probs[i].TopLogprobs {
			n += 128 + 9*len(probs[i].TopLogprobs[k].Token)
		}
	}
	return n
}
