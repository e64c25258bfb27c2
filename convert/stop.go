package convert

import (
	"strings"

	"github.com/labiium/chat2response/convert/responses"
)

// Every delta of an answer is searched for all stop sequences, so there are limits
// to them. OpenAI takes four; others take more.
const (
	maxStops = 16
	maxStop  = 256 // bytes of one
)

// hold passes on what of a text comes before a stop sequence, and holds back
// what may be the beginning of one. When one is complete, the rest of the answer
// is not wanted. It is the same for a text that comes whole as for one in pieces:
// the sequence that is complete first counts.
func (l *ladder) hold(p *rungPart, text string, probs []responses.Logprob) (string, []responses.Logprob) {
	if l.stopped {
		return "", nil
	}
	text = p.held + text
	p.probs = append(p.probs, probs...)
	if at := firstStop(text, l.stops); at >= 0 {
		l.stopped = true
		p.held = ""
		return text[:at], p.probsOf(at)
	}
	at := len(text) - partialStop(text, l.stops)
	p.held = text[at:]
	return text[:at], p.probsOf(at)
}

// probsOf takes the log probabilities of the tokens that end in the next n bytes
// of the text.
func (p *rungPart) probsOf(n int) []responses.Logprob {
	n += p.ahead
	tokens := 0
	for tokens < len(p.probs) && len(p.probs[tokens].Token) <= n {
		n -= len(p.probs[tokens].Token)
		tokens++
	}
	out := p.probs[:tokens]
	p.probs, p.ahead = p.probs[tokens:], n
	if len(p.probs) == 0 {
		p.ahead = 0
	}
	return out
}

// firstStop is where the stop sequence begins that is complete first, or -1. Of
// two that end together the longer one counts.
func firstStop(text string, stops []string) int {
	first, end := -1, 0
	for _, stop := range stops {
		at := strings.Index(text, stop)
		if at < 0 {
			continue
		}
		if e := at + len(stop); first < 0 || e < end || e == end && at < first {
			first, end = at, e
		}
	}
	return first
}

// partialStop is how much of the end of text may be the beginning of a stop
// sequence.
func partialStop(text string, stops []string) int {
	most := 0
	for _, stop := range stops {
		for n := min(len(stop)-1, len(text)); n > most; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				most = n
			}
		}
	}
	return most
}
