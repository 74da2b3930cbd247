package aws_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// No engine builds the image here. Its build command is run, and the rest of the
// file is read. To compile everything for two architectures takes minutes: for
// arm64 the command is given a small program, and the source of the service is
// the same for both (TestSameSource of lambdazip).
func TestDockerfile(t *testing.T) {
	data, err := os.ReadFile("Dockerfile")
	require.NoError(t, err)
	var lines []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	with := func(prefix string) (out []string) {
		for _, line := range lines {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				out = append(out, rest)
			}
		}
		return out
	}
	assert.Equal(t, []string{"--platform=$BUILDPLATFORM golang:${GO_VERSION} AS build", "${BASE}"}, with("FROM "))
	assert.NotContains(t, strings.Join(lines, "\n"), "latest")
	assert.Contains(t, with("ARG "), "BASE=scratch")
	assert.Contains(t, with("ARG "), "TARGETARCH", "it is for several architectures")
	assert.Equal(t, []string{"65532:65532"}, with("USER "), "nobody, as the manifests have it")
	assert.Equal(t, []string{`["/service"]`}, with("ENTRYPOINT "))
	assert.Contains(t, with("COPY --from=build "), "/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/")
	work, err := os.ReadFile("../../go.work")
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(work))
	assert.Regexp(t, `(?m)^ARG GO_VERSION=`+regexp.QuoteMeta(version[1])+`\.\d+$`, string(data), "the Go release of go.work, to the patch")
	for _, copied := range []string{"go.work", "go.work.sum", "go.mod", "go.sum", "adapters/go.mod", "adapters/go.sum", "examples/go.mod", "examples/go.sum"} {
		assert.FileExists(t, filepath.Join("../..", copied))
		assert.Contains(t, strings.Join(with("COPY "), " "), copied)
	}

	var command string
	for _, run := range with("RUN ") {
		if strings.Contains(run, "go build") {
			command = run
		}
	}
	const out, service = "/out/service", "./examples/aws/service"
	require.Contains(t, command, " -o "+out+" "+service)
	for arch, of := range map[string]struct {
		program string
		machine elf.Machine
	}{"amd64": {service, elf.EM_X86_64}, "arm64": {"./examples/quickstart", elf.EM_AARCH64}} {
		file := filepath.Join(t.TempDir(), "service")
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(command, out+" "+service, file+" "+of.program, 1))
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "TARGETARCH="+arch)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", arch, said)
		binary, err := elf.Open(file)
		require.NoError(t, err)
		assert.Equal(t, of.machine, binary.Machine)
		libraries, err := binary.ImportedLibraries()
		require.NoError(t, err)
		assert.Empty(t, libraries, "it is static")
		assert.Nil(t, binary.Section(".interp"), "it needs no loader")
		require.NoError(t, binary.Close())
	}
}
