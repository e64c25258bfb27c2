//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// profiles runs each wanted row once more, after all figures have been taken, and
// has the gateway write what the flags ask for: a CPU profile, and its allocations
// before and after.
func (b *bench) profiles(ctx context.Context) error {
	if b.flags.cpuProfiles == "" && b.flags.memProfiles == "" {
		return nil
	}
	for _, dir := range []string{b.flags.cpuProfiles, b.flags.memProfiles} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	rows := b.profiled()
	for i, m := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.say("profile %d of %d: %s", i+1, len(rows), m.id())
		if err := b.profile(m); err != nil {
			return fmt.Errorf("%s: %w", m.id(), err)
		}
	}
	if dir := b.flags.cpuProfiles; dir != "" {
		b.notes = append(b.notes, fmt.Sprintf("CPU profiles are in %[1]s: go tool pprof -top -cum %[1]s/<scenario>.<variant>.cpu", dir))
	}
	if dir := b.flags.memProfiles; dir != "" {
		b.notes = append(b.notes, fmt.Sprintf("Allocations are in %[1]s: go tool pprof -top -sample_index=alloc_space -base %[1]s/<scenario>.<variant>.before %[1]s/<scenario>.<variant>.after", dir))
	}
	return nil
}

// profiled are the rows of which a profile says something: those that are wanted,
// put load on the gateway, and do not wait most of the time.
func (b *bench) profiled() []*measured {
	var out []*measured
	for _, m := range b.rows {
		if m.wanted && m.v.kind != direct && m.s.connections > 0 {
			out = append(out, m)
		}
	}
	return out
}

func (b *bench) profile(m *measured) error {
	write := func(do, dir, kind string) error {
		if dir == "" {
			return nil
		}
		file, err := filepath.Abs(filepath.Join(dir, m.s.name+"."+m.v.name+"."+kind))
		if err != nil {
			return err
		}
		_, err = b.gateway.ask(order{Do: do, File: file})
		return err
	}
	if err := write("allocations", b.flags.memProfiles, "before"); err != nil {
		return err
	}
	if err := write("profile", b.flags.cpuProfiles, "cpu"); err != nil {
		return err
	}
	err := b.withProcs(m.s, func() error {
		_, err := b.load(m.v, m.s.ask, m.s.connections, b.plan.profile)
		return err
	})
	if err != nil {
		return err
	}
	if err := write("profiled", b.flags.cpuProfiles, "cpu"); err != nil {
		return err
	}
	return write("allocations", b.flags.memProfiles, "after")
}
