package history_test

import (
	"fmt"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
)

// Growth: to append costs the same however long the conversation is, and finds out all the same what is there already.
func TestAppendReadsLittle(t *testing.T) {
	s := &readings{Store: newMemory(t)}
	a := newHistory(t, s, history.Config{}).Tenant("a")
	c, err := a.CreateConversation(ctx, nil, nil)
	want(t, err, nil)
	var early, late int64
	for i := range 400 {
		s.bytes = 0
		added, err := a.AppendItems(ctx, c.ID, []responses.Item{user(n("own-", i), n("q", i)), user("", n("r", i))})
		want(t, err, nil)
		equal(t, len(added.Data), 2)
		if i == 50 {
			early = s.bytes
		}
		late = s.bytes
	}
	if late > early+early/4 {
		t.Errorf("%d bytes are read for the last, and %d for an early one", late, early)
	}
	for _, again := range []responses.Item{user("own-7", "other"), ref("own-7"), ref("own-399")} {
		added, err := a.AppendItems(ctx, c.ID, []responses.Item{again, user("", "new")})
		want(t, err, nil)
		equal(t, texts(added.Data), "new")
	}
	added, err := a.AppendItems(ctx, c.ID, []responses.Item{ref("own-9")})
	want(t, err, nil)
	equal(t, len(added.Data), 0)
	// One that was deleted can come again, and one of elsewhere come in.
	_, err = a.DeleteConversationItem(ctx, c.ID, "own-7")
	want(t, err, nil)
	added, err = a.AppendItems(ctx, c.ID, []responses.Item{user("own-7", "again")})
	want(t, err, nil)
	equal(t, texts(added.Data), "again")
	want(t, a.Save(ctx, history.Turn{Response: response("resp_1", responses.Completed), Input: []responses.Item{user("msg_1", "elsewhere")}}), nil)
	added, err = a.AppendItems(ctx, c.ID, []responses.Item{ref("msg_1")})
	want(t, err, nil)
	equal(t, texts(added.Data), "elsewhere")
	thread, err := a.Thread(ctx, c.ID)
	want(t, err, nil)
	equal(t, len(thread.Items), 800+3+1)
	once(t, thread.Items)
}

// A conversation at max_chain takes more once items are deleted from it.
func TestAppendAfterDeletion(t *testing.T) {
	a := newHistory(t, newMemory(t), history.Config{MaxChain: 5000}).Tenant("a")
	c, err := a.CreateConversation(ctx, nil, nil)
	want(t, err, nil)
	for i := 0; err == nil; i++ {
		_, err = a.AppendItems(ctx, c.ID, []responses.Item{user(n("m", i), fmt.Sprintf("%0900d", i))})
	}
	want(t, err, history.ErrTooLarge)
	_, err = a.DeleteConversationItem(ctx, c.ID, "m0")
	want(t, err, nil)
	_, err = a.AppendItems(ctx, c.ID, []responses.Item{user("", fmt.Sprintf("%0800d", 1))})
	want(t, err, nil)
}
