// Package build compiles the functions and packs them as Lambda wants them:
// the same source gives the same bytes, whoever builds it and wherever.
package build

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ImportPath is where the functions are.
const ImportPath = "github.com/castlecloud/exchange/examples/aws/functions/"

// Architectures are those that Lambda runs.
var Architectures = []string{"arm64", "amd64"}

// Compile compiles functions, or programs by their import path, for Linux on an architecture ("": this machine's)
// into a directory, each into a file of its name.
func Compile(ctx context.Context, dir, arch string, functions ...string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("compiling: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("compiling: %w", err)
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-tags=lambda.norpc", "-o", dir + string(filepath.Separator)}
	for _, f := range functions {
		if !strings.Contains(f, "/") {
			f = ImportPath + f
		}
		args = append(args, f)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	// What a developer's own settings would change in the binaries is set. The
	// oldest of each architecture that Lambda has is the one compiled for.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off")
	if arch != "" {
		cmd.Env = append(cmd.Env, "GOOS=linux", "GOARCH="+arch)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compiling: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// zipTime is that of every file in a zip, which has none before 1980.
var zipTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Zip writes a zip with a binary in it as bootstrap, the name that Lambda's
// runtime provided.al2023 runs.
func Zip(w io.Writer, binary io.Reader) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	head := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: zipTime}
	head.SetMode(0o755)
	f, err := z.CreateHeader(head)
	if err == nil {
		_, err = io.Copy(f, binary)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return fmt.Errorf("packing: %w", err)
	}
	return nil
}
