package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// peer is a process of one of the scripts. It measures when it is asked and
// waits in between, so that only one side computes at a time.
type peer struct {
	script string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	says   bytes.Buffer
}

// ready is what a peer says when it can be asked.
type ready struct {
	Params   int               `json:"params"`
	ImportMB float64           `json:"import_mb"`
	Versions map[string]string `json:"versions"`
}

// start starts a script of this folder and waits until it is ready.
func (b *bench) start(ctx context.Context, env []string, script string, args ...string) (*peer, ready, error) {
	var r ready
	p := &peer{script: script}
	path := filepath.Join("internal", "benchcompare", script)
	p.cmd = exec.CommandContext(ctx, b.python(), append([]string{path, "--threads", strconv.Itoa(b.threads)}, args...)...)
	p.cmd.Env = append(os.Environ(), "OMP_NUM_THREADS="+strconv.Itoa(b.threads), "PYTHONDONTWRITEBYTECODE=1")
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stderr = &p.says
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, r, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, r, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, r, err
	}
	if err := p.read(&r); err != nil {
		p.stop()
		return nil, r, err
	}
	b.versions(r.Versions)
	return p, r, nil
}

// ask has the peer measure for so many seconds and decodes its answer. It
// returns the seconds of processor time that it took.
func (p *peer) ask(seconds float64, to any) (float64, error) {
	before := processCPU(p.cmd.Process.Pid)
	if _, err := fmt.Fprintln(p.in, seconds); err != nil {
		return 0, p.fail(err)
	}
	if err := p.read(to); err != nil {
		return 0, err
	}
	return processCPU(p.cmd.Process.Pid) - before, nil
}

// read decodes one line.
func (p *peer) read(to any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return p.fail(err)
	}
	if err := json.Unmarshal(line, to); err != nil {
		return p.fail(fmt.Errorf("%q: %w", line, err))
	}
	return nil
}

// fail ends the process and adds the last line that it said to an error.
func (p *peer) fail(err error) error {
	p.stop()
	lines := strings.Split(strings.TrimSpace(p.says.String()), "\n")
	return fmt.Errorf("%s: %w: %s", p.script, err, lines[len(lines)-1])
}

// stop ends the process. It may be called twice.
func (p *peer) stop() {
	p.in.Close()
	_ = p.cmd.Wait() // it was not asked for anything any more
}
