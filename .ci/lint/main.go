// Command lint checks the files of packaging by the parsers of the programs that
// read them: the Dockerfile with BuildKit's linter, the compose file with Compose's
// loader, the release configuration with goreleaser's. It is a module of its own, so
// that none of these is a dependency of the gateway.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/goreleaser/goreleaser/v2/pkg/config"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	failed := false
	for file, check := range map[string]func(string) error{
		"Dockerfile": dockerfile, "compose.yaml": compose, ".goreleaser.yaml": release,
	} {
		if err := check(file); err != nil {
			fmt.Printf("%s: %v\n", file, err)
			failed = true
			continue
		}
		fmt.Println(file, "is right")
	}
	if failed {
		os.Exit(1)
	}
}

// dockerfile parses and lints. A warning is an error.
func dockerfile(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(bytes.NewReader(data))
	if err != nil {
		return err
	}
	for _, w := range parsed.Warnings {
		return fmt.Errorf("%s", w.Short)
	}
	var warned error
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, where []parser.Range) {
		warned = fmt.Errorf("%v: %s: %s", where, rule, message)
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return err
	}
	if warned != nil {
		return warned
	}
	last := stages[len(stages)-1]
	user := false
	for _, c := range last.Commands {
		if u, ok := c.(*instructions.UserCommand); ok {
			user = u.User != "" && u.User != "root" && u.User != "0"
		}
	}
	if !user {
		return fmt.Errorf("the image runs as root")
	}
	return nil
}

// compose loads the file as docker compose config does.
func compose(file string) error {
	o, err := cli.NewProjectOptions([]string{file}, cli.WithName("chat2response"), cli.WithOsEnv)
	if err != nil {
		return err
	}
	project, err := o.LoadProject(context.Background())
	if err != nil {
		return err
	}
	return project.CheckContainerNameUnicity()
}

// release reads the configuration; a member that goreleaser does not know is an error.
func release(file string) error {
	_, err := config.Load(file)
	return err
}
