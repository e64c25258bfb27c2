package mcpbridge

import (
	"os/exec"
	"syscall"
)

// Windows has no process groups: what a child started itself is not ended with it, and a write to a child that does
// not read cannot be bounded. Stdio servers that start no others and read their stdin work.

func isolate(*exec.Cmd) {}

func holdThread() (release func()) { return func() {} }

func (p *process) reap() error {
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	return err
}

func killGroup(cmd *exec.Cmd, _ syscall.Signal) { _ = cmd.Process.Kill() }
