package store

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// MaxChanges is the most changes that one [Store.SwapMany] makes.
const MaxChanges = 1 << 17

// ConflictError is the ErrConflict of a [Store.SwapMany]: nothing was written.
type ConflictError struct {
	// Lost are the places, in the call's list and in its order, of all changes whose Old is not what is stored.
	Lost []int
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%d values, of them that of change %d, were %s", len(e.Lost), e.Lost[0], ErrConflict)
}

// Unwrap returns ErrConflict.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// conflict is nil if nothing was lost.
func conflict(lost []int) error {
	if len(lost) == 0 {
		return nil
	}
	return &ConflictError{lost}
}

// checkAll refuses lists that not every store could write as one.
func checkAll(changes []Change) error {
	if len(changes) > MaxChanges {
		return fmt.Errorf("%w: %d changes at once; %d are possible", ErrName, len(changes), MaxChanges)
	}
	type name struct{ space, id string }
	var seen map[name]bool
	if len(changes) > 1 {
		seen = make(map[name]bool, len(changes))
	}
	for i := range changes {
		c := &changes[i]
		if err := c.check(); err != nil {
			return err
		}
		if seen[name{c.Space, c.ID}] {
			return fmt.Errorf("%w: %s/%s is changed twice at once", ErrName, c.Space, c.ID)
		}
		if len(changes) == 1 {
			return nil
		}
		seen[name{c.Space, c.ID}] = true
		if tag(c.Space) == "" || tag(c.Space) != tag(changes[0].Space) {
			return fmt.Errorf("%w: %s and %s may be on different nodes of a cluster; spaces of one call share what is between their braces",
				ErrName, c.Space, changes[0].Space)
		}
	}
	return nil
}

// tag is what stands between the first brace of a space and the next: a Redis Cluster keeps all names that have it in
// common on one node (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags). "": none.
func tag(space string) string {
	_, rest, _ := strings.Cut(space, "{")
	tag, _, closed := strings.Cut(rest, "}")
	if !closed {
		return ""
	}
	return tag
}

// wins reports whether the change may be made where now is; nil: nothing.
func (c *Change) wins(now []byte) bool {
	return c.Drop || (now == nil) == (c.Old == nil) && bytes.Equal(now, c.Old)
}

// one turns a conflict of a list of one change into that of Swap.
func one(err error) error {
	if _, lost := errors.AsType[*ConflictError](err); lost {
		return ErrConflict
	}
	return err
}
