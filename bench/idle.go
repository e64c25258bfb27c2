//go:build unix

package main

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"
)

// settling is how long open streams are left alone before they are counted.
const settling = 100 * time.Millisecond

// measureIdle opens streams that say a little and then nothing, and compares two
// plateaus: what a stream more costs has nothing in it of what the gateway needs
// for itself, nor of what it keeps of earlier rows.
func measureIdle(b *bench, m *measured) (sample, error) {
	n := b.plan.streams
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && uint64(limit.Cur) < uint64(4*n+200) {
		note := fmt.Sprintf("Idle streams were not measured: %d of them need %d open files a process, and the limit is %d (ulimit -n).", 2*n, 4*n+200, limit.Cur)
		if !slices.Contains(b.notes, note) {
			b.notes = append(b.notes, note)
		}
		return sample{}, nil
	}
	start, err := b.usage("shrink")
	if err != nil {
		return nil, err
	}
	open := &streams{b: b, m: m}
	defer open.close()
	if err := open.add(n); err != nil {
		return nil, err
	}
	first, err := b.usage("shrink")
	if err != nil {
		return nil, err
	}
	if err := open.add(n); err != nil {
		return nil, err
	}
	second, err := b.usage("shrink")
	if err != nil {
		return nil, err
	}
	got := sample{
		"heap_kib_per_stream":      kib(second.Heap+second.Stack, first.Heap+first.Stack) / float64(n),
		"heap_kib_per_stream_1000": kib(first.Heap+first.Stack, start.Heap+start.Stack) / float64(n),
	}
	if second.RSS > 0 {
		got["rss_kib_per_stream"] = kib(second.RSS, first.RSS) / float64(n)
		got["rss_kib_per_stream_1000"] = kib(first.RSS, start.RSS) / float64(n)
		got["rss_mib_total"] = float64(second.RSS) / (1 << 20)
	}
	open.close()
	return got, b.calm(start.Goroutines)
}

func kib(a, b uint64) float64 { return (float64(a) - float64(b)) / 1024 }

// calm waits until the gateway has noticed that the clients are gone.
func (b *bench) calm(goroutines int) error {
	for range 100 {
		u, err := b.usage("usage")
		if err != nil {
			return err
		}
		if u.Goroutines < goroutines+50 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the streams of the gateway do not end with their clients")
}

// streams are connections in the middle of an answer.
type streams struct {
	b *bench
	m *measured

	mu      sync.Mutex
	clients []*client
	wrong   []string
}

// add opens n more, several at a time.
func (s *streams) add(n int) error {
	const openers = 8
	a, v := s.m.s.ask, s.m.v
	request := a.request(v.client, s.b.addr(v), v.more())
	deadline := time.Now().Add(2 * requestTimeout)
	var all sync.WaitGroup
	for range openers {
		all.Go(func() {
			for range n / openers {
				c, err := dial(s.b.addr(v), deadline)
				status := 0
				if err == nil {
					status, err = c.open(request)
				}
				s.mu.Lock()
				if c != nil {
					s.clients = append(s.clients, c)
				}
				if err != nil || status != 200 {
					s.wrong = append(s.wrong, fmt.Sprintf("status %d, %v", status, err))
				}
				s.mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(s.wrong) > 0 {
		s.b.addWrong(v, a, s.wrong)
		return errWrong
	}
	time.Sleep(settling)
	return nil
}

func (s *streams) close() {
	for _, c := range s.clients {
		c.conn.Close()
	}
	s.clients = nil
}
