package history_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/history"
)

func completion(id, model, metadata string) history.Completion {
	return history.Completion{
		ID: id, Model: model, Metadata: jsontext.Value(metadata),
		Object:   jsontext.Value(`{"id":"` + id + `","object":"chat.completion","model":"` + model + `","choices":[],"extra":1}`),
		Messages: []jsontext.Value{jsontext.Value(`{"role":"user","content":"hi"}`), jsontext.Value(`{"role":"assistant","content":[],"id":"own"}`)},
	}
}

func ids(l history.List[jsontext.Value]) string {
	var all []string
	for _, v := range l.Data {
		_, rest, _ := strings.Cut(string(v), `"id":"`)
		id, _, _ := strings.Cut(rest, `"`)
		all = append(all, id)
	}
	return strings.Join(all, " ")
}

func TestCompletions(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a, b := h.Tenant("a"), h.Tenant("b")
		for i, c := range []history.Completion{
			completion("c0", "m1", ""), completion("c1", "m2", `{"k":"v"}`), completion("c2", "m1", `{"k":"v","l":"w"}`), completion("c3", "m1", `{"k":"x"}`),
		} {
			want(t, a.SaveCompletion(ctx, c), nil)
			if i == 0 {
				want(t, a.SaveCompletion(ctx, c), history.ErrConflict)
			}
		}
		got, err := a.Completion(ctx, "c1")
		want(t, err, nil)
		equal(t, string(got), `{"metadata":{"k":"v"},"id":"c1","object":"chat.completion","model":"m2","choices":[],"extra":1}`)
		got, err = a.UpdateCompletion(ctx, "c0", jsontext.Value(`{"k": "v"}`))
		want(t, err, nil)
		equal(t, string(got), `{"metadata":{"k":"v"},"id":"c0","object":"chat.completion","model":"m1","choices":[],"extra":1}`)
		for _, test := range []struct {
			filter history.CompletionFilter
			page   history.Page
			want   string
			more   bool
		}{
			{want: "c0 c1 c2 c3"},
			{page: history.Page{Order: "desc"}, want: "c3 c2 c1 c0"},
			{page: history.Page{Limit: 2}, want: "c0 c1", more: true},
			{page: history.Page{Limit: 2, After: "c1"}, want: "c2 c3"},
			{page: history.Page{Limit: 1, After: "c2", Order: "desc"}, want: "c1", more: true},
			{filter: history.CompletionFilter{Model: "m1"}, want: "c0 c2 c3"},
			{filter: history.CompletionFilter{Model: "m1", Metadata: map[string]string{"k": "v"}}, want: "c0 c2"},
			{filter: history.CompletionFilter{Model: "m1"}, page: history.Page{Limit: 2}, want: "c0 c2", more: true},
			{filter: history.CompletionFilter{Model: "m9"}},
		} {
			l, err := a.Completions(ctx, test.filter, test.page)
			want(t, err, nil)
			equal(t, ids(l), test.want)
			equal(t, l.HasMore, test.more)
			if test.want != "" {
				equal(t, *l.FirstID+" … "+*l.LastID, test.want[:2]+" … "+test.want[len(test.want)-2:])
			}
		}
		l, err := a.CompletionMessages(ctx, "c1", history.Page{})
		want(t, err, nil)
		equal(t, string(l.Data[0])+string(l.Data[1]), `{"id":"c1-0","role":"user","content":"hi"}{"id":"c1-1","role":"assistant","content":[]}`)
		l, err = a.CompletionMessages(ctx, "c1", history.Page{Order: "desc", After: "c1-1"})
		want(t, err, nil)
		equal(t, ids(l), "c1-0")

		want(t, a.DeleteCompletion(ctx, "c1"), nil)
		for _, of := range []history.Tenant{a, b, {}} {
			for _, id := range []string{"c1", "never", "a:b", ""} {
				_, err := of.Completion(ctx, id)
				want(t, err, history.ErrNotFound)
				equal(t, err.Error(), "Chat completion with id '"+id+"' not found.")
				_, err = of.UpdateCompletion(ctx, id, nil)
				want(t, err, history.ErrNotFound)
				_, err = of.CompletionMessages(ctx, id, history.Page{})
				want(t, err, history.ErrNotFound)
				want(t, of.DeleteCompletion(ctx, id), history.ErrNotFound)
			}
		}
		l, err = b.Completions(ctx, history.CompletionFilter{}, history.Page{})
		want(t, err, nil)
		equal(t, len(l.Data), 0)

		odd := completion("c9", "m", "")
		odd.Messages = append(odd.Messages, jsontext.Value(`"text"`))
		want(t, a.SaveCompletion(ctx, odd), history.ErrInvalid)
		odd = completion("c9", "m", "")
		odd.Object = jsontext.Value(`[]`)
		want(t, a.SaveCompletion(ctx, odd), history.ErrInvalid)
		for _, metadata := range []string{`[]`, `{"a":1}`, `{"` + strings.Repeat("n", 65) + `":""}`, `{"n":"` + strings.Repeat("v", 513) + `"}`} {
			want(t, a.SaveCompletion(ctx, completion("c9", "m", metadata)), history.ErrInvalid)
		}
		records, _, orphans, err := a.Audit(ctx)
		want(t, err, nil)
		equal(t, [2]int64{records, orphans}, [2]int64{3, 0})
	})
}
