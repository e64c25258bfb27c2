package history

import (
	"encoding/binary"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/responses"
)

// A response in the store is three pieces of JSON, each behind its length: meta, the response object without its
// output, and its items. To rebuild a chain the middle one, which may repeat long instructions and many tools, need
// not be read.

// meta is what is known of a response besides what the API shows.
type meta struct {
	// Depth is the number of ancestors.
	Depth int `json:"d,omitzero"`
	// Near are the ids of the ancestors from the parent back to the nearest whose depth is a multiple of stride.
	Near []string `json:"n,omitzero"`
	// Far, of a response whose own depth is such a multiple: the ids of the ancestors of that kind that come before
	// the one at the end of Near, the latest first, at most stride.
	Far []string `json:"f,omitzero"`
	// Conversation is the key of the conversation the response was made in, if that had items, Incarnation which one of
	// that name, and Turns the number of its chunks that came before.
	Conversation string `json:"c,omitzero"`
	Incarnation  string `json:"g,omitzero"`
	Turns        int64  `json:"t,omitzero"`

	Status string `json:"s"`
	// Tag is what the ids have in common that the response's items were given here.
	Tag string `json:"h,omitzero"`
	// Items is how many items there are, and Inputs how many of them are input.
	Items  int `json:"l,omitzero"`
	Inputs int `json:"i,omitzero"`
	// Own is the size of the items, Total that of the whole chain.
	Own   int64 `json:"o"`
	Total int64 `json:"a"`
	// Until is when the first of the chain is removed, in Unix ms.
	Until int64 `json:"u"`
	// Created is the place in the order of the tenant, in Unix µs.
	Created int64 `json:"m"`
	// EchoApart: what repeats the request is in echoSpace.
	EchoApart bool `json:"e,omitzero"`

	Background bool `json:"b,omitzero"`
	Streamed   bool `json:"r,omitzero"`
	// Ended is when a background response ended, in Unix ms.
	Ended int64 `json:"x,omitzero"`
}

// stride is how many ancestors a response names one by one. What comes before them is found through every stride-th
// response, so that a response at any depth names at most 2·stride others, and 16 at most nearly always: a turn costs
// the same however long the chain. Two reads rebuild a chain of up to 17 turns, four one of up to 289.
const stride = 16

// record is a response as it is in the store.
type record struct {
	meta
	response responses.Response // without its output
	items    []responses.Item   // input, then output
	raw      []byte             // as it was read
}

// open tells whether the response is not finished.
func (m *meta) open() bool {
	return m.Status == responses.Queued || m.Status == responses.InProgress
}

// What is written was found well-formed when it was read, or comes from this program, and so is what is read again.
var jsonOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

func encode(v any) ([]byte, error) { return json.Marshal(v, jsonOptions) }

// decode is for what this package has written; anything else is ErrUnreadable.
func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v, jsonOptions); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return nil
}

func appendPiece(b, piece []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(piece))), piece...)
}

// cutPiece returns the first piece of b and what is behind it.
func cutPiece(b []byte) (piece, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, fmt.Errorf("%w: a piece of it is cut off", ErrUnreadable)
	}
	b = b[size:]
	return b[:n:n], b[n:], nil
}

// encodeRecord returns the record's bytes, with items already encoded.
func encodeRecord(r *record, items []byte) ([]byte, error) {
	r.Items = len(r.items)
	m, err := encode(&r.meta)
	if err != nil {
		return nil, err
	}
	response, err := encode(&r.response)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(m)+len(response)+len(items)+16)
	return appendPiece(appendPiece(appendPiece(b, m), response), items), nil
}

// record reads a record that was read for a request; the response object only if it is wanted.
func (t Tenant) record(b []byte, whole bool) (*record, error) {
	if t.reader != nil {
		pieces, err := cutRecord(b)
		if err != nil {
			return nil, err
		}
		if err := t.weigh(pieces[2]); err != nil {
			return nil, err
		}
	}
	return decodeRecord(b, whole)
}

// cutRecord returns the pieces of a record.
func cutRecord(b []byte) (pieces [3][]byte, err error) {
	for i := range pieces {
		if pieces[i], b, err = cutPiece(b); err != nil {
			return pieces, err
		}
	}
	return pieces, nil
}

// decodeRecord is record on no account.
func decodeRecord(b []byte, whole bool) (*record, error) {
	pieces, err := cutRecord(b)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := decode(pieces[0], &r.meta); err != nil {
		return nil, err
	}
	if whole {
		if err := decode(pieces[1], &r.response); err != nil {
			return nil, err
		}
	}
	if r.Items < 0 || r.Items > len(pieces[2])/2 { // an item is two bytes at least
		return nil, fmt.Errorf("%w: %d items in %d bytes", ErrUnreadable, r.Items, len(pieces[2]))
	}
	r.items = make([]responses.Item, 0, r.Items)
	if err := decode(pieces[2], &r.items); err != nil {
		return nil, err
	}
	if len(r.items) != r.Items || r.Inputs < 0 || r.Inputs > r.Items {
		return nil, fmt.Errorf("%w: %d items, not %d of which %d are input", ErrUnreadable, len(r.items), r.Items, r.Inputs)
	}
	return r, nil
}

func (r *record) input() []responses.Item  { return r.items[:r.Inputs] }
func (r *record) output() []responses.Item { return r.items[r.Inputs:] }
