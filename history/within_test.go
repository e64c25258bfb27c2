package history_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
)

// M2: whoever keeps account of memory is told what a read is about to hold, before the store is asked for the bulk of it,
// and can refuse.
func TestWithin(t *testing.T) {
	const size = 100_000 // of one text
	s := &readings{Store: newMemory(t)}
	a := newHistory(t, s, history.Config{}).Tenant("a")
	text := strings.Repeat(`{"`, size/3) // no objects, but in a text
	last := ""
	for range 20 {
		last = turn(t, a, last, text, "a")
	}
	c, err := a.CreateConversation(ctx, []responses.Item{user("msg_c", text)}, nil)
	want(t, err, nil)
	for range 9 {
		_, err = a.AppendItems(ctx, c.ID, []responses.Item{user("", text)})
		want(t, err, nil)
	}
	chat := completion("chatcmpl-1", "m", "")
	chat.Object = jsontext.Value(`{"text":"` + strings.Repeat("x", size) + `"}`)
	want(t, a.SaveCompletion(ctx, chat), nil)

	refused := errors.New("no memory")
	for name, read := range map[string]struct {
		of    func(a history.Tenant) error
		least int64 // bytes of JSON
	}{
		"chain":    {func(a history.Tenant) error { _, err := a.Chain(ctx, last); return err }, 20 * size},
		"thread":   {func(a history.Tenant) error { _, err := a.Thread(ctx, c.ID); return err }, 10 * size},
		"named":    {func(a history.Tenant) error { _, err := a.NamedThread(ctx, c.ID); return err }, 10 * size},
		"response": {func(a history.Tenant) error { _, err := a.Response(ctx, last); return err }, size},
		"input":    {func(a history.Tenant) error { _, err := a.InputItems(ctx, last, history.Page{}); return err }, size},
		"items":    {func(a history.Tenant) error { _, err := a.Items(ctx, "msg_c"); return err }, size},
		"resolve": {func(a history.Tenant) error {
			_, err := a.Resolve(ctx, nil, []responses.Item{ref("msg_c")})
			return err
		}, size},
		"list": {func(a history.Tenant) error {
			_, err := a.ConversationItems(ctx, c.ID, history.Page{Limit: 100})
			return err
		}, 10 * size},
		"item":       {func(a history.Tenant) error { _, err := a.ConversationItem(ctx, c.ID, "msg_c"); return err }, size},
		"completion": {func(a history.Tenant) error { _, err := a.Completion(ctx, "chatcmpl-1"); return err }, size},
		"completions": {func(a history.Tenant) error {
			_, err := a.Completions(ctx, history.CompletionFilter{}, history.Page{})
			return err
		}, size},
		"messages": {func(a history.Tenant) error {
			_, err := a.CompletionMessages(ctx, "chatcmpl-1", history.Page{})
			return err
		}, size},
	} {
		t.Run(name, func(t *testing.T) {
			var total int64
			want(t, read.of(a.Within(func(n int64) error { total += n; return nil })), nil)
			if total < 2*read.least || total > 3*read.least+100_000 {
				t.Errorf("told of %d bytes; %d of JSON were read", total, read.least)
			}
			// Refused at once, it has read little: heads, and what has no size that could be known.
			s.bytes = 0
			err := read.of(a.Within(func(int64) error { return refused }))
			want(t, err, refused)
			if most := read.least/2 + 3000; name != "list" && name != "item" && s.bytes > most {
				t.Errorf("%d bytes were read before", s.bytes)
			}
			want(t, read.of(a.Within(nil)), nil)
		})
	}

	// Small items weigh more than their bytes.
	want(t, a.Save(ctx, history.Turn{Response: response("resp_small", responses.Completed), Input: many(1000, false, "")}), nil)
	var total int64
	_, err = a.Within(func(n int64) error { total += n; return nil }).Chain(ctx, "resp_small")
	want(t, err, nil)
	if total < 1000*(2*100+2*500) {
		t.Errorf("told of %d bytes for 1000 items of one part", total)
	}
}

// readings counts the bytes that are read.
type readings struct {
	store.Store
	bytes int64
}

func (r *readings) Get(ctx ctxT, space, id string) ([]byte, error) {
	v, err := r.Store.Get(ctx, space, id)
	r.bytes += int64(len(v))
	return v, err
}

func (r *readings) GetMany(ctx ctxT, space string, ids []string) ([][]byte, error) {
	values, err := r.Store.GetMany(ctx, space, ids)
	for _, v := range values {
		r.bytes += int64(len(v))
	}
	return values, err
}

func (r *readings) List(ctx ctxT, space string, p store.Page) ([]store.Entry, error) {
	page, err := r.Store.List(ctx, space, p)
	for _, e := range page {
		r.bytes += int64(len(e.Value))
	}
	return page, err
}
