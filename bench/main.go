//go:build unix

// Command bench measures chat2response against Caddy's bare reverse_proxy, in one
// run on one machine: requests and events per second, CPU time, latencies, memory
// and allocations. README.md says how, and how to read the table.
//
//	go run ./bench -quick
//	go run ./bench -growth
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

func main() {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(run())
	case "gateway":
		beChild(gatewayRole())
	case "upstream":
		debug.SetGCPercent(400)
		beChild(upstreamRole())
	}
}

func beChild(carryOut func(order) (reply, error)) {
	if core, err := strconv.Atoi(os.Getenv(coreVariable)); err == nil && core >= 0 {
		if err := pin(core); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	signal.Ignore(syscall.SIGINT) // the parent's to act on
	serveOrders(carryOut)
}

// flags of the command line.
type flags struct {
	quick       bool
	growth      bool
	only        *regexp.Regexp
	json        string
	cpuProfiles string // directories
	memProfiles string
}

func parseFlags() (flags, error) {
	var f flags
	flag.BoolVar(&f.quick, "quick", false, "end within 60 seconds; the figures are rougher")
	flag.BoolVar(&f.growth, "growth", false, "measure instead how what the gateway does grows with the number of things; up to 3 minutes")
	only := flag.String("only", "", "measure only the rows whose `scenario/variant`, or with -growth whose name, matches this regular expression")
	flag.StringVar(&f.json, "json", "", "write all figures to this `file` as JSON")
	flag.StringVar(&f.cpuProfiles, "cpuprofile", "", "also write CPU profiles of the gateway, one a row, into this `directory`; takes some seconds more for each")
	flag.StringVar(&f.memProfiles, "memprofile", "", "the same for what the gateway allocates")
	flag.Parse()
	if flag.NArg() > 0 {
		return f, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if f.growth && (f.quick || f.memProfiles != "") {
		return f, errors.New("-growth goes with -only, -json and -cpuprofile only")
	}
	var err error
	f.only, err = regexp.Compile(*only)
	return f, err
}

// run is the load process. Its result is the exit status: 1 when an answer was
// wrong or something broke, 2 for a bad command line.
func run() int {
	f, err := parseFlags()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	what := measure
	if f.growth {
		what = measureGrowth
	}
	if err := what(ctx, f); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func measure(ctx context.Context, f flags) error {
	plan := fullPlan
	if f.quick {
		plan = quickPlan
	}
	b := &bench{plan: plan, flags: f, began: time.Now(), expect: map[row]expected{}}
	b.choose()
	if len(b.rows) == 0 {
		return errors.New("-only matches no row")
	}
	limit := plan.limit
	if f.cpuProfiles != "" || f.memProfiles != "" {
		limit += time.Duration(len(b.profiled())) * 2 * plan.profile
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "chat2response-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := b.start(ctx, dir); err != nil {
		return b.because(ctx, err)
	}
	defer b.stop()
	if err := b.checkAll(); err != nil {
		return b.because(ctx, err)
	}
	if err := b.rounds(ctx); err != nil {
		return b.because(ctx, err)
	}
	if err := b.profiles(ctx); err != nil {
		return b.because(ctx, err)
	}
	r := b.report()
	r.print(os.Stdout)
	if f.json != "" {
		return r.writeJSON(f.json)
	}
	return nil
}

// start brings up the other two processes and puts each on its core.
func (b *bench) start(ctx context.Context, dir string) error {
	b.placing = place(cores())
	b.machine = thisMachine(b.placing) // before this process is on one core, and the load its own
	var err error
	if b.upstream, err = startChild(ctx, "upstream", b.placing.upstream); err != nil {
		return err
	}
	if b.gateway, err = startChild(ctx, "gateway", b.placing.gateway); err != nil {
		b.upstream.stop()
		return err
	}
	if b.placing.load >= 0 {
		if err := pin(b.placing.load); err != nil {
			b.stop()
			return err
		}
	}
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400)
	up, err := b.upstream.ask(order{Do: "start"})
	if err != nil {
		b.stop()
		return err
	}
	b.upstreamAddr = up.Addrs["upstream"]
	gate, err := b.gateway.ask(order{Do: "start", Sites: sitesOf(b.upstreamAddr, dir), Dir: filepath.Join(dir, "storage")})
	if err != nil {
		b.stop()
		return err
	}
	b.addrs = gate.Addrs
	return nil
}

func (b *bench) stop() {
	b.gateway.stop()
	b.upstream.stop()
}

// because says it where an error only follows from the end of the time.
func (b *bench) because(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("it took longer than it may: %w", err)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// placing is the core of each process, -1 for any.
type placing struct{ gateway, upstream, load int }

// place gives the gateway a core for itself. Load and upstream share one where
// there are only two: both do little.
func place(cores []int) placing {
	switch len(cores) {
	case 0, 1:
		return placing{-1, -1, -1}
	case 2:
		return placing{cores[0], cores[1], cores[1]}
	}
	return placing{cores[0], cores[1], cores[2]}
}
