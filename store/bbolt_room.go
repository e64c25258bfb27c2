package store

import (
	"context"
	"fmt"
)

// Roomy is a [Store] on a disk that others fill too, perhaps by the very same file.
type Roomy interface {
	Store

	// KeepFree returns a view of the store whose writes fail with [ErrFull] where that would leave less than so many
	// bytes for the others: where the disk's free space and what is free within the file come to less. What removes, and
	// what only moves an expiry, is never refused; a SwapMany that also creates or replaces is refused as a whole, but
	// for one whose values come to no more than those that it replaces. Closing the view closes the share it was made of.
	//
	// Free space is what the system says (statfs) at each write. It is known on Linux and macOS; elsewhere nothing is
	// refused.
	KeepFree(bytes int64) Store
}

func (s *boltShare) KeepFree(bytes int64) Store { return &roomyShare{boltShare: s, keep: bytes} }

type roomyShare struct {
	*boltShare
	keep int64
}

func (s *roomyShare) Swap(ctx context.Context, c Change) error {
	return one(s.SwapMany(ctx, []Change{c}))
}

func (s *roomyShare) SwapMany(ctx context.Context, changes []Change) error {
	var more int64
	for i := range changes {
		more += int64(len(changes[i].New)) - int64(len(changes[i].Old))
	}
	if more > 0 {
		if err := s.room(more); err != nil {
			return err
		}
	}
	return s.boltShare.SwapMany(ctx, changes)
}

// room refuses so many bytes more where they would leave too little.
func (s *roomyShare) room(more int64) error {
	free, known := diskFree(s.path)
	if !known {
		return nil
	}
	if err := s.safely(func() error {
		free += int64(s.db.Stats().FreePageN) * s.pageSize
		return nil
	}); err != nil {
		return err
	}
	if free-more < s.keep {
		return fmt.Errorf("%w: bbolt: %d bytes are free for %s, of which %d are kept for its other users", ErrFull, max(free, 0), s.path, s.keep)
	}
	return nil
}

// Interface guards
var (
	_ Roomy = (*boltShare)(nil)
	_ Store = (*roomyShare)(nil)
)
