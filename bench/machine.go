//go:build unix

package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// machine is where a run was made.
type machine struct {
	CPU   string    `json:"cpu,omitempty"`
	Cores int       `json:"cores"`
	OS    string    `json:"os"`
	Arch  string    `json:"arch"`
	Go    string    `json:"go"`
	Caddy string    `json:"caddy"`
	Load  string    `json:"load_average,omitempty"`
	Pins  string    `json:"pins"`
	Time  time.Time `json:"time"`
}

func thisMachine(p placing) machine {
	m := machine{
		CPU: processor(), Cores: max(len(cores()), 1), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Go: runtime.Version(), Caddy: "unknown", Time: time.Now().UTC().Truncate(time.Second),
	}
	if cores() == nil {
		m.Cores = runtime.NumCPU()
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/caddyserver/caddy/v2" {
				m.Caddy = dep.Version
			}
		}
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(b), " ")
	}
	m.Pins = "no process has a core of its own (not Linux, or only one core)"
	if p.gateway >= 0 {
		m.Pins = fmt.Sprintf("gateway on core %d, upstream on %d, load on %d", p.gateway, p.upstream, p.load)
	}
	return m
}

func (m machine) String() string {
	cpu := m.CPU
	if cpu == "" {
		cpu = m.Arch
	}
	return fmt.Sprintf("%s, %d cores, %s/%s; %s, Caddy %s; %s; GOMAXPROCS=1 each", cpu, m.Cores, m.OS, m.Arch, m.Go, m.Caddy, m.Pins)
}

// processor is the name of the CPU, where /proc tells it.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
