package main

import (
	"archive/zip"
	"bytes"
	"context"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/castlecloud/exchange/examples/aws/internal/build"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The same source gives the same bytes, wherever it is built into, for either
// architecture. One function stands for all.
func TestZipsAreReproducible(t *testing.T) {
	const function = "authorizer"
	t.Setenv("GOFLAGS", "-trimpath=false") // a developer's own settings decide nothing
	var said [2]string
	var zips [2][]byte
	for i := range zips {
		dir := filepath.Join(t.TempDir(), "out")
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"-out", dir, "-functions", function, "-arch", "amd64"}, &out, io.Discard))
		said[i] = out.String()
		data, err := os.ReadFile(filepath.Join(dir, "amd64", function+".zip"))
		require.NoError(t, err)
		zips[i] = data
	}
	assert.Equal(t, said[0], said[1])
	assert.True(t, bytes.Equal(zips[0], zips[1]), "the same source gave other bytes")
	assert.Equal(t, elf.EM_X86_64, machine(t, zips[0]))
}

// Nothing of this repository is written for one architecture alone: what make
// lambda, and the Dockerfile of the services, build for arm64 is what was tested
// here. To build it takes a minute of compiling everything anew, which only they
// do.
func TestSameSource(t *testing.T) {
	const format = `{{if and (not .Standard) .Module}}{{if .Module.Replace}}{{.ImportPath}} {{.GoFiles}} {{.CgoFiles}} {{.SFiles}}{{end}}{{if .Module.Main}}{{.ImportPath}} {{.GoFiles}} {{.CgoFiles}} {{.SFiles}}{{end}}{{end}}`
	var sources []string
	for _, arch := range build.Architectures {
		cmd := exec.Command("go", "list", "-deps", "-f", format, build.ImportPath+"...", "github.com/castlecloud/exchange/examples/aws/service")
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		out, err := cmd.Output()
		require.NoError(t, err)
		sources = append(sources, string(out))
	}
	assert.Equal(t, sources[0], sources[1])
	assert.Contains(t, sources[0], "exchange/pipeline [")
	assert.Contains(t, sources[0], "functions/settler [")
	assert.Contains(t, sources[0], "aws/service [")
}

// machine returns what a zip's bootstrap runs on.
func machine(t *testing.T, data []byte) elf.Machine {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	require.Len(t, r.File, 1)
	f := r.File[0]
	assert.Equal(t, "bootstrap", f.Name)
	assert.Equal(t, os.FileMode(0o755), f.Mode())
	assert.Equal(t, 1980, f.Modified.Year())
	body, err := f.Open()
	require.NoError(t, err)
	binary, err := io.ReadAll(body)
	require.NoError(t, err)
	e, err := elf.NewFile(bytes.NewReader(binary))
	require.NoError(t, err)
	section := e.Section(".debug_info")
	assert.Nil(t, section, "it is stripped")
	return e.Machine
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-arch", "mips"}, {"-functions", "nobody"}, {"-what"}} {
		assert.Error(t, run(context.Background(), args, io.Discard, io.Discard), "%v", args)
	}
}
