//go:build unix && !linux

package mcpbridge

import (
	"os/exec"
	"syscall"
)

// isolate puts the child into a process group of its own. Only Linux can have it killed with the gateway: elsewhere a
// gateway that dies by kill -9 leaves those children that do not end when their stdin does.
func isolate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func holdThread() (release func()) { return func() {} }

// reap waits for the child's end, and ends what it has left running.
func (p *process) reap() error {
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	killGroup(p.cmd, syscall.SIGKILL)
	return err
}

// killGroup sends sig to the child and all that it started.
func killGroup(cmd *exec.Cmd, sig syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, sig) }
