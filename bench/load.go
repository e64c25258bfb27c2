//go:build unix

package main

import (
	"fmt"
	"sync"
	"time"
)

// requestTimeout bounds every request: nothing here should take a tenth of it.
const requestTimeout = 20 * time.Second

// slice is a run of one row in one round: a closed loop of some connections for a
// short time.
type slice struct {
	answers   int
	took      time.Duration
	latencies []time.Duration
	firsts    []time.Duration // until the first byte of the body
	delays    []time.Duration // of events, from the upstream's write to here
	before    usage           // of the gateway
	after     usage
	wrong     []string
}

// cpu is the gateway's, per answer, in µs.
func (s *slice) cpu() float64 {
	return micro(s.after.CPU-s.before.CPU) / float64(s.answers)
}

// mallocs is how often the gateway allocated, per answer.
func (s *slice) mallocs() float64 {
	return float64(s.after.Mallocs-s.before.Mallocs) / float64(s.answers)
}

// allocated is how many bytes the gateway allocated, per answer.
func (s *slice) allocated() float64 {
	return float64(s.after.Allocated-s.before.Allocated) / float64(s.answers)
}

// rate is in answers per second.
func (s *slice) rate() float64 { return float64(s.answers) / s.took.Seconds() }

// busy is the part of the time in which the gateway's CPU worked.
func (s *slice) busy() float64 { return float64(s.after.CPU-s.before.CPU) / float64(s.took) }

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// tooWrong is how many wrong answers end a connection's part in a slice.
const tooWrong = 3

// load runs a slice. Each connection sends one request that is not counted, and
// starts the next when it has read the answer. With gaps the connections start
// apart, over the length of a stream, so that the beginnings of streams, which
// cost most, do not come all at once.
func (b *bench) load(v *variant, a *ask, connections int, duration time.Duration) (*slice, error) {
	want := b.expect[row{v, a}]
	request := a.request(v.client, b.addr(v), v.more())
	workers := make([]*worker, connections)
	for i := range workers {
		w := &worker{addr: b.addr(v), request: request, want: want, answer: newAnswer()}
		if a.gap > 0 {
			w.answer.stamps = &stamps{}
			w.wait = time.Duration(a.events) * a.gap * time.Duration(i) / time.Duration(connections)
		}
		if err := w.connect(); err != nil {
			return nil, err
		}
		defer w.close()
		workers[i] = w
	}
	var warm sync.WaitGroup
	for _, w := range workers {
		warm.Go(func() { w.once() })
	}
	warm.Wait()
	for _, w := range workers {
		if len(w.wrong) > 0 {
			b.addWrong(v, a, w.wrong)
			return nil, errWrong
		}
	}
	s := &slice{}
	var err error
	if s.before, err = b.usage("collect"); err != nil {
		return nil, err
	}
	start := time.Now()
	var all sync.WaitGroup
	for _, w := range workers {
		w.reset()
		all.Go(func() { w.loop(start.Add(duration)) })
	}
	all.Wait()
	s.took = time.Since(start)
	if s.after, err = b.usage("usage"); err != nil {
		return nil, err
	}
	for _, w := range workers {
		s.answers += len(w.latencies)
		s.latencies = append(s.latencies, w.latencies...)
		s.firsts = append(s.firsts, w.firsts...)
		if w.answer.stamps != nil {
			s.delays = append(s.delays, w.answer.stamps.delays...)
		}
		s.wrong = append(s.wrong, w.wrong...)
	}
	if len(s.wrong) > 0 {
		b.addWrong(v, a, s.wrong)
		return nil, errWrong
	}
	return s, nil
}

// worker is one connection of the load.
type worker struct {
	addr    string
	request []byte
	want    expected
	wait    time.Duration // before it starts

	client    *client
	answer    *answer
	latencies []time.Duration
	firsts    []time.Duration
	wrong     []string
}

func (w *worker) connect() error {
	w.close()
	var err error
	w.client, err = dial(w.addr, time.Now().Add(requestTimeout))
	return err
}

func (w *worker) close() {
	if w.client != nil {
		w.client.conn.Close()
		w.client = nil
	}
}

// reset forgets what was measured; what was wrong stays.
func (w *worker) reset() {
	w.latencies, w.firsts = w.latencies[:0], w.firsts[:0]
	if w.answer.stamps != nil {
		w.answer.stamps.delays = w.answer.stamps.delays[:0]
	}
}

// loop works until the end, and sends one request at least.
func (w *worker) loop(end time.Time) {
	time.Sleep(w.wait)
	w.client.conn.SetDeadline(end.Add(requestTimeout))
	for len(w.wrong) < tooWrong {
		w.once()
		if !time.Now().Before(end) {
			return
		}
	}
}

func (w *worker) once() {
	start := time.Now()
	err := w.client.do(w.request, w.answer)
	if err != nil {
		w.wrong = append(w.wrong, fmt.Sprintf("after %v: %v", time.Since(start).Round(time.Millisecond), err))
		if err := w.connect(); err != nil {
			w.wrong = append(w.wrong, err.Error(), "gave up", "no connection")
		}
		return
	}
	w.latencies = append(w.latencies, time.Since(start))
	w.firsts = append(w.firsts, w.answer.first.Sub(start))
	if wrong := w.want.wrong(w.answer); wrong != "" {
		w.wrong = append(w.wrong, wrong)
	}
}
