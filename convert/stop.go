package convert

import (
	"slices"
	"strings"

	"github.com/labiium/chat2response/convert/responses"
)

// stopper cuts a stream at the first stop sequence in its text, for upstreams
// that have none. It holds back text that may be the beginning of one.
type stopper struct {
	stops  []string
	next   Emit
	cancel func()

	held    string
	resp    *responses.Response
	items   []responses.Item
	text    map[string]string // of each message's open part, as it was sent on
	stopped bool
}

func newStopper(stops []string, next Emit, cancel func()) *stopper {
	return &stopper{stops: stops, next: next, cancel: cancel, text: map[string]string{}}
}

// Event passes an event on, or what of it comes before a stop sequence.
func (s *stopper) Event(e *responses.Event) error {
	if s.stopped {
		return nil
	}
	if e.Response != nil {
		s.resp = e.Response
	}
	switch e.Type {
	case responses.EventTextDelta:
		return s.delta(e)
	case responses.EventTextDone:
		if s.held != "" {
			held := s.held
			s.held = ""
			if err := s.send(e, held); err != nil {
				return err
			}
		}
	case responses.EventItemDone:
		s.items = append(s.items, *e.Item)
	}
	return s.next(e)
}

func (s *stopper) send(like *responses.Event, text string) error {
	if text == "" {
		return nil
	}
	s.text[like.ItemID] += text
	return s.next(&responses.Event{
		Type: responses.EventTextDelta, ItemID: like.ItemID, OutputIndex: like.OutputIndex, ContentIndex: like.ContentIndex,
		Delta: text, Logprobs: like.Logprobs,
	})
}

func (s *stopper) delta(e *responses.Event) error {
	text := s.held + e.Delta
	if at := firstStop(text, s.stops); at >= 0 {
		return s.stop(e, text[:at])
	}
	keep := partialStop(text, s.stops)
	s.held = text[len(text)-keep:]
	return s.send(e, text[:len(text)-keep])
}

// stop ends the response behind text.
func (s *stopper) stop(e *responses.Event, text string) error {
	like := *e
	like.Logprobs = nil // they are of the whole delta
	if err := s.send(&like, text); err != nil {
		return err
	}
	s.stopped = true
	if s.cancel != nil {
		s.cancel()
	}
	part := responses.OutputText(s.text[like.ItemID])
	item := responses.Item{Type: "message", ID: like.ItemID, Status: responses.Completed, Role: "assistant", Content: responses.Parts(part)}
	resp := responses.Response{Object: "response"}
	if s.resp != nil {
		resp = *s.resp
	}
	resp.Status, resp.Output = responses.Completed, append(slices.Clone(s.items), item)
	at := resp.CreatedAt
	resp.CompletedAt = &at
	for _, ev := range []responses.Event{
		{Type: responses.EventTextDone, Text: part.Str(), ContentIndex: like.ContentIndex},
		{Type: responses.EventPartDone, Part: &part, ContentIndex: like.ContentIndex},
		{Type: responses.EventItemDone, Item: &item},
		{Type: responses.EventCompleted, Response: &resp},
	} {
		ev.ItemID, ev.OutputIndex = like.ItemID, like.OutputIndex
		if err := s.next(&ev); err != nil {
			return err
		}
	}
	return nil
}

// firstStop is where the first stop sequence begins, or -1.
func firstStop(text string, stops []string) int {
	first := -1
	for _, stop := range stops {
		if at := strings.Index(text, stop); at >= 0 && (first < 0 || at < first) {
			first = at
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

// cutResponse ends a whole response at the first stop sequence in its text.
func cutResponse(resp *responses.Response, stops []string) {
	for i := range resp.Output {
		it := &resp.Output[i]
		for k := range it.Content.Parts {
			p := &it.Content.Parts[k]
			if it.Type != "message" || p.Type != "output_text" {
				continue
			}
			at := firstStop(p.Str(), stops)
			if at < 0 {
				continue
			}
			text := p.Str()[:at]
			p.Text = &text
			p.Annotations, p.Logprobs = []responses.Annotation{}, []responses.Logprob{}
			it.Status, it.Content.Parts = responses.Completed, it.Content.Parts[:k+1]
			resp.Output = resp.Output[:i+1]
			resp.Status, resp.IncompleteDetails = responses.Completed, nil
			return
		}
	}
}
