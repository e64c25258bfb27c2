package history

import (
	"context"
	"errors"
)

// reader is whoever keeps account of what a tenant's reads hold.
type reader struct{ take func(bytes int64) error }

// objectSize is what a JSON object of an item (the item itself, a part of its content) takes decoded, in bytes, beside its
// text; measured with items of `{"type":"x","id":"a"}`: 533, with parts of `{}`: 326 with the slices that hold them.
const objectSize = 544

// Within returns the tenant for one request that keeps account of its memory. Each of its reads (Chain, Thread,
// NamedThread, Resolve, Items, Response, InputItems, conversations and their items, chat completions) calls take with the
// number of bytes that it is about to hold, mostly more than once: before it reads, where the store knows the size, and
// before it decodes what it has read. An error of take ends the read and is returned as it is.
//
// What it is told: twice the JSON that is stored, which is held as it was read and as the strings that come of it, and 544
// bytes for each object in it, which is what an item or a part of one takes as a Go value. So long texts count for twice
// their bytes, a chain of short messages for some ten times, and one of the smallest items that there can be for thirty.
//
// Nothing is given back: what is held ends with the request. Take is called by one goroutine at a time if the tenant is
// used by one. A [Job] that is started with the tenant does not call it. Events of a background response, which pass
// through in parts, and removals are on no account.
func (t Tenant) Within(take func(bytes int64) error) Tenant {
	t.reader = nil
	if take != nil {
		t.reader = &reader{take}
	}
	return t
}

// hold accounts for so many bytes of stored JSON, before they are read if that can be known.
func (t Tenant) hold(stored int64) error {
	if t.reader == nil || stored <= 0 {
		return nil
	}
	return t.reader.take(2 * stored)
}

// weigh accounts for the objects in JSON that is about to be decoded.
func (t Tenant) weigh(json []byte) error {
	if t.reader == nil {
		return nil
	}
	return t.reader.take(objectSize * objects(json))
}

// holdEntry is hold of what an entry of the ledger stands for. One that is not there is found out by the read.
func (t Tenant) holdEntry(ctx context.Context, kind byte, id string) error {
	if t.reader == nil {
		return nil
	}
	value, err := t.raw(ctx, ledgerSpace, ledgerID(kind, id))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	size, _ := parseValue(value)
	return t.hold(size)
}

// objects is how many objects there are in JSON.
func objects(json []byte) (n int64) {
	text := false
	for i := 0; i < len(json); i++ {
		switch c := json[i]; {
		case c == '"':
			text = !text
		case text && c == '\\':
			i++
		case !text && c == '{':
			n++
		}
	}
	return n
}
