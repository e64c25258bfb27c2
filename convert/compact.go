package convert

import (
	"slices"
	"strings"

	"github.com/labiium/chat2response/convert/responses"
)

// compactionPrompt is what a Chat upstream is asked for in the place of a
// compaction_trigger.
const compactionPrompt = `Summarize this conversation so that it can be continued from your summary and the user's messages alone. Write down: the task and every constraint that was given; what was decided, and why; what was done, by which tools, and with what result, with file names, commands, identifiers, numbers and error messages as they were; what is still open; and the next step. Call no tools and do not go on with the task. Write nothing but the summary.`

// summaryPrefix stands before a summary where it takes the place of what it sums up.
const summaryPrefix = "Summary of the conversation so far, which takes the place of what is not shown here:\n\n"

// compacts tells whether the input ends with the wish that it be compacted.
func compacts(input []responses.Item) bool {
	return len(input) > 0 && input[len(input)-1].Kind() == "compaction_trigger"
}

// Compacts tells whether the request asks for no answer but for a compaction item: its
// input ends with a compaction_trigger. A Chat upstream is then asked for a summary,
// and [Turn.Compacted] makes the item of its answer.
// https://platform.openai.com/docs/guides/compaction
func (r *Request) Compacts() bool { return r.In == Responses && compacts(r.Canonical.Input) }

// toSummarize is the request for a summary in the place of one that ends with a
// compaction_trigger: without tools, and as text.
func toSummarize(req *responses.Request, o *Options) (*responses.Request, error) {
	if o.Sealer == nil {
		return nil, invalid("unsupported_value", element("input", len(req.Input)-1-o.past), "Unsupported value: an item of type 'compaction_trigger' needs a key to seal the summary with, and there is none.")
	}
	if len(req.Input) == 1 {
		return nil, invalid("invalid_value", "input", "Invalid 'input': there is nothing before the 'compaction_trigger' to compact.")
	}
	out := *req
	out.Input = append(req.Input[:len(req.Input)-1:len(req.Input)-1], responses.Item{Type: "message", Role: "user", Content: responses.Text(compactionPrompt)})
	out.Tools, out.ToolChoice, out.ParallelToolCalls, out.MaxToolCalls = nil, nil, nil, nil
	out.Text, out.Include, out.TopLogprobs, out.MaxOutputTokens = nil, nil, nil, nil
	return &out, nil
}

// Compacted makes the answer to a request that [Request.Compacts] of the upstream's
// summary: the same response, with a compaction item as its whole output, in which
// the summary is sealed. Without a summary it is an [*Error].
func (t *Turn) Compacted(resp *responses.Response) (*responses.Response, error) {
	var texts []string
	for i := range resp.Output {
		if it := &resp.Output[i]; it.Kind() == "message" {
			texts = append(texts, it.Content.Text+joinParts(it.Content.Parts))
		}
	}
	summary := strings.TrimSpace(strings.Join(texts, "\n\n"))
	blob := ""
	if summary != "" {
		blob = t.o.Sealer.seal(sealed{Summary: summary})
	}
	if blob == "" {
		return nil, &Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The conversation could not be compacted: the upstream wrote no summary."}
	}
	out := *resp
	out.Output = []responses.Item{{Type: "compaction", ID: t.o.newID("cmp_"), EncryptedContent: blob}}
	return &out, nil
}

// compaction reads a summary that this gateway has sealed.
func (x *itemReader) compaction(at string, it *responses.Item) error {
	message, ok, err := x.o.summary(it)
	if err != nil {
		return err
	}
	if !ok {
		return closed(at, it, x.o.Sealer, "Chat Completions")
	}
	return x.message(at, &message)
}

// closed is the error of a compaction item that cannot be opened. It does not say
// whether there is an owner for whom it could be.
func closed(at string, it *responses.Item, s *Sealer, to string) error {
	why := "only the server that made it can read it; start from the conversation itself"
	switch {
	case strings.HasPrefix(it.EncryptedContent, ownerless):
		why = "it was sealed by an earlier version, before sealed content belonged to one client; start from the conversation itself"
	case s == nil && isOurs(it.EncryptedContent):
		why = "this gateway opens what it sealed only for the key it was sealed for: send the key"
	}
	return invalid("unsupported_value", at, "Unsupported value: an item of type 'compaction' cannot be carried over to %s: %s.", to, why)
}

// summary opens a compaction item of this gateway's: the message that it stands for. It
// is the user's: what a model wrote, perhaps led by the output of a tool, must not
// speak with the voice of the developer.
func (o *Options) summary(it *responses.Item) (responses.Item, bool, error) {
	sealed, ok, err := o.open(it.EncryptedContent)
	return responses.Item{Type: "message", Role: "user", Content: responses.Text(summaryPrefix + sealed.Summary)}, ok && sealed.Summary != "", err
}

// unsealed has messages in the place of this gateway's summaries, which no upstream
// could read. As many of the items as o.past says are not the request's own.
func (o *Options) unsealed(items []responses.Item) ([]responses.Item, error) {
	cloned := false
	for i := range items {
		if items[i].Kind() != "compaction" {
			continue
		}
		message, ok, err := o.summary(&items[i])
		switch {
		case err != nil:
			return nil, err
		case !ok && isOurs(items[i].EncryptedContent):
			at := "input"
			if i >= o.past {
				at = element("input", i-o.past)
			}
			return nil, closed(at, &items[i], o.Sealer, "the upstream")
		case !ok:
			continue // the upstream's own
		}
		if !cloned {
			items, cloned = slices.Clone(items), true
		}
		items[i] = message
	}
	return items, nil
}

// Uncompacted returns what of past items a model still has to see: where there is a
// compaction item, the user's messages before the last one, and all from there on.
func Uncompacted(past []responses.Item) []responses.Item {
	isTrigger := func(it responses.Item) bool { return it.Kind() == "compaction_trigger" }
	if slices.ContainsFunc(past, isTrigger) { // it has been answered, with a compaction item or a failure
		past = slices.DeleteFunc(slices.Clone(past), isTrigger)
	}
	last := len(past) - 1
	for last >= 0 && past[last].Kind() != "compaction" {
		last--
	}
	if last < 0 {
		return past
	}
	return append(UserMessages(past[:last]), past[last:]...)
}

// UserMessages returns those of items that are messages of the user, which
// compacting leaves as they are.
func UserMessages(items []responses.Item) []responses.Item {
	kept := []responses.Item{}
	for i := range items {
		if it := &items[i]; it.Kind() == "message" && it.Role == "user" {
			kept = append(kept, *it)
		}
	}
	return kept
}
