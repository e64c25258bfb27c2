package history

import (
	"context"
	"errors"
	"fmt"

	"github.com/labiium/chat2response/store"
)

// The errors of a history. Every error wraps one of these or the context's own.
var (
	// ErrNotFound: there is no such thing for this tenant. Whether another has it, and whether there ever was one, is
	// not said. The error's text is OpenAI's.
	ErrNotFound = errors.New("not found")
	// ErrTooLarge: it passes MaxResponse, MaxChain or MaxBytes; the text says which. Nothing was written.
	ErrTooLarge = errors.New("too large")
	// ErrConflict: it was changed by someone else since it was read, or an id is in use. Nothing of this call counts.
	// For a conversation it is OpenAI's 409 conversation_locked.
	ErrConflict = errors.New("changed by another request")
	// ErrUnavailable: the store did not answer or cannot serve. It says nothing about what was asked for. Of a write,
	// it is not known whether it was made.
	ErrUnavailable = errors.New("history is unavailable")
	// ErrFull: there is no room, and none can be made: the store is full, or what clients without a key have in common
	// (MaxKeylessBytes, MaxKeylessRecords). Nothing was written.
	ErrFull = errors.New("there is no room")
	// ErrUnfinished: the response has a status (queued, in_progress, failed, cancelled) that nothing can continue.
	ErrUnfinished = errors.New("cannot be continued")
	// ErrSynchronous: only a background response can be cancelled.
	// https://platform.openai.com/docs/api-reference/responses/cancel
	ErrSynchronous = errors.New("Cannot cancel a synchronous response.")
	// ErrLost: a background response is not its owner's any more: it was cancelled, deleted or declared failed.
	ErrLost = errors.New("is not this job's any more")
	// ErrNoEvents: the response was not made with background and stream, or it ended more than 10 minutes ago.
	ErrNoEvents = errors.New("has no events to be replayed")
	// ErrUnreadable: what is stored was encrypted with a key that is not configured, or was damaged or moved.
	ErrUnreadable = errors.New("unreadable in the store")
	// ErrInvalid: a value that is not possible; the text says which and what is.
	ErrInvalid = errors.New("not possible")
)

// missing is OpenAI's text for an id that the tenant does not have.
func missing(kind, id string) error {
	return fmt.Errorf("%s with id '%s' %w.", kind, id, ErrNotFound)
}

// orMissing names what was not found.
func orMissing(err error, kind, id string) error {
	if errors.Is(err, ErrNotFound) {
		return missing(kind, id)
	}
	return err
}

// failed turns a store's error into one of this package's. A write that fewer replicas confirmed than were asked for
// has been made, so it is only counted.
func (h *History) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotDurable):
		h.count.notDurable.Add(1)
		return nil
	case errors.Is(err, store.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, store.ErrConflict):
		return ErrConflict
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, store.ErrUnavailable):
		return err
	}
	h.count.unavailable.Add(1)
	if errors.Is(err, store.ErrFull) {
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrFull, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
