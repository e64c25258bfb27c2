package keystore

import (
	"context"
	"sync"
)

// background are the goroutines that end with Close.
type background struct {
	mu   sync.Mutex
	wg   sync.WaitGroup
	ctx  context.Context
	stop context.CancelFunc
}

func newBackground() *background {
	b := new(background)
	b.ctx, b.stop = context.WithCancel(context.Background())
	return b
}

// start runs f, with a context that Close ends; after Close it returns false and does not.
func (b *background) start(f func(context.Context)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		return false
	}
	b.wg.Go(func() { f(b.ctx) })
	return true
}

func (b *background) close() {
	b.mu.Lock()
	b.stop()
	b.mu.Unlock()
	b.wg.Wait()
}
