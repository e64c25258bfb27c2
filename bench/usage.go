//go:build unix

package main

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used, from its own accounting.
type usage struct {
	CPU        time.Duration `json:"cpu"` // user and system, since the start
	Mallocs    uint64        `json:"mallocs"`
	Allocated  uint64        `json:"allocated"` // bytes, since the start
	Heap       uint64        `json:"heap"`      // bytes of objects
	Stack      uint64        `json:"stack"`     // bytes
	RSS        uint64        `json:"rss"`       // bytes; 0 where it is not known
	Goroutines int           `json:"goroutines"`
}

func ownUsage() (usage, error) {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return usage{}, err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{
		CPU:     time.Duration(ru.Utime.Nano() + ru.Stime.Nano()),
		Mallocs: m.Mallocs, Allocated: m.TotalAlloc, Heap: m.HeapAlloc, Stack: m.StackInuse,
		RSS: residentSize(), Goroutines: runtime.NumGoroutine(),
	}, nil
}

// residentSize is known from Linux's /proc only: getrusage tells the peak.
func residentSize() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// watcher collects garbage without a pause and keeps the most that was live: the
// peak that no setting of GOGC can be below.
type watcher struct {
	stop chan struct{}
	peak chan uint64
	base uint64
}

func watch() *watcher {
	runtime.GC()
	runtime.GC() // empties the pools
	w := &watcher{stop: make(chan struct{}), peak: make(chan uint64), base: liveHeap()}
	go func() {
		peak := w.base
		for {
			select {
			case <-w.stop:
				w.peak <- peak
				return
			default:
				runtime.GC()
				peak = max(peak, liveHeap())
			}
		}
	}()
	return w
}

// end is how much more was live at the peak than before.
func (w *watcher) end() uint64 {
	close(w.stop)
	return <-w.peak - w.base
}

// liveHeap is what the last collection found alive, in bytes.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
