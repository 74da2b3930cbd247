// Command lambdazip builds the zips of the functions, one for each function
// and architecture, and prints their hashes. The same source and Go release
// give the same bytes.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/castlecloud/exchange/examples/aws/internal/build"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "lambdazip:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	var names, archs []string
	for _, f := range config.Functions {
		names = append(names, f.Name)
	}
	list := func(into *[]string, known []string) func(string) error {
		return func(text string) error {
			*into = strings.Split(text, ",")
			for _, s := range *into {
				if !slices.Contains(known, s) {
					return fmt.Errorf("%q: expected %s", s, strings.Join(known, ", "))
				}
			}
			return nil
		}
	}
	flags := flag.NewFlagSet("lambdazip", flag.ContinueOnError)
	flags.SetOutput(errOut)
	dir := flags.String("out", "lambda", "`directory` for ARCH/FUNCTION.zip, made when absent")
	archs = build.Architectures
	flags.Func("arch", "`architectures`, such as arm64 (default "+strings.Join(archs, ",")+")", list(&archs, build.Architectures))
	functions := slices.Clone(names)
	flags.Func("functions", "`names`, such as api,push (default all)", list(&functions, names))
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, arch := range archs {
		if err := pack(ctx, filepath.Join(*dir, arch), arch, functions, out); err != nil {
			return err
		}
	}
	return nil
}

// pack builds the zips of one architecture.
func pack(ctx context.Context, dir, arch string, functions []string, out io.Writer) error {
	binaries, err := os.MkdirTemp("", "lambdazip-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(binaries)
	if err := build.Compile(ctx, binaries, arch, functions...); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range functions {
		binary, err := os.Open(filepath.Join(binaries, name))
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		err = build.Zip(&packed, binary)
		_ = binary.Close()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+".zip"), packed.Bytes(), 0o644)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%x  %s/%s.zip  %d bytes\n", sha256.Sum256(packed.Bytes()), arch, name, packed.Len())
	}
	return nil
}
