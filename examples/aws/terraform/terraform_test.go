// Package terraform_test checks the Terraform configuration: that it is
// formatted, valid and does what its own tests say, that it agrees with the Go
// code, and that it grants nothing by a wildcard and keeps no secret.
package terraform_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange/exchangetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runWait bounds one run of terraform.
const runWait = 5 * time.Minute

// directories are where terraform is run: each module, and what uses them.
var directories = []string{
	"modules/network", "modules/data", "modules/messaging", "modules/edge", "modules/api", "modules/compute", "modules/observability", "modules/eks",
	".", "environments/small", "environments/production",
}

// files are those of the configuration, relative to this directory.
func files(t *testing.T, extensions ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".terraform":
			return filepath.SkipDir
		case !d.IsDir() && slices.ContainsFunc(extensions, func(ext string) bool { return strings.HasSuffix(path, ext) }):
			data, err := os.ReadFile(path)
			found[path] = string(data)
			return err
		}
		return nil
	}))
	require.NotEmpty(t, found)
	return found
}

// TestTerraform runs terraform in a copy, so that nothing of it stays here.
func TestTerraform(t *testing.T) {
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		exchangetest.Skip(t, exchangetest.TerraformAbsent)
	}
	root := copied(t)
	env := append(os.Environ(), "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "AWS_EC2_METADATA_DISABLED=true", "TF_CLI_CONFIG_FILE="+cliConfig(t))
	run := func(dir string, args ...string) (string, error) {
		ctx, stop := context.WithTimeout(t.Context(), runWait)
		defer stop()
		cmd := exec.CommandContext(ctx, terraform, args...)
		cmd.Dir, cmd.Env = filepath.Join(root, dir), env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run(".", "fmt", "-check", "-diff", "-recursive")
	assert.NoError(t, err, "terraform fmt is due:\n%s", out)
	if out, err := run(directories[0], "init", "-backend=false", "-no-color"); err != nil {
		if !strings.Contains(out, "provider") {
			t.Fatal(out)
		}
		t.Logf("terraform init:\n%s", out)
		exchangetest.Skip(t, exchangetest.TerraformAbsent)
	}
	// Two at a time: each loads the whole provider.
	var group sync.WaitGroup
	room := make(chan struct{}, 2)
	for _, dir := range directories {
		group.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			steps := [][]string{{"init", "-backend=false", "-no-color"}}
			if strings.HasPrefix(dir, "environments/") { // which use every module, with all the providers it wants
				steps = append(steps, []string{"validate", "-no-color"})
			}
			for _, args := range append(steps, []string{"test", "-no-color"}) {
				out, err := run(dir, args...)
				if !assert.NoError(t, err, "%s: terraform %s:\n%s", dir, strings.Join(args, " "), out) {
					return
				}
				if args[0] == "test" {
					assert.Regexp(t, `Success! [1-9][0-9]* passed, 0 failed\.`, out, dir)
				}
			}
		})
	}
	group.Wait()
}

// copied returns a copy of this directory with what it refers to beside it.
func copied(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	for _, dir := range []string{"aws/terraform", "internal/api", "exchange/web/static"} {
		require.NoError(t, os.CopyFS(filepath.Join(top, dir), keep{os.DirFS(filepath.Join("../..", dir))}))
	}
	return filepath.Join(top, "aws/terraform")
}

// keep leaves out what terraform keeps in a directory that it has run in.
type keep struct{ fs.FS }

func (k keep) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(k.FS, name)
	return slices.DeleteFunc(entries, func(d fs.DirEntry) bool { return strings.HasPrefix(d.Name(), ".terraform") }), err
}

// cliConfig returns the CLI configuration file to run with: the user's own when
// there is one, else one that names a mirror of providers where a machine
// without a network may have one.
func cliConfig(t *testing.T) string {
	t.Helper()
	if own := os.Getenv("TF_CLI_CONFIG_FILE"); own != "" {
		if _, err := os.Stat(own); err == nil {
			return own
		}
	}
	for _, place := range []string{"/opt", "/usr/share", "/usr/local/share", "/usr/local/lib"} {
		// MIRROR/HOST/hashicorp/aws/VERSION/PLATFORM/terraform-provider-aws...
		if found, _ := filepath.Glob(place + "/*/*/hashicorp/aws/*/*/terraform-provider-aws*"); len(found) > 0 {
			mirror := found[0]
			for range 6 {
				mirror = filepath.Dir(mirror)
			}
			file := filepath.Join(t.TempDir(), "terraform.rc")
			require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror), 0o600))
			return file
		}
	}
	return os.DevNull // none: the providers come from where terraform gets them
}

var (
	stringPattern  = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	actionsPattern = regexp.MustCompile(`(?s)\bactions\s*=\s*\[(.*?)\]`)
	secretPattern  = regexp.MustCompile(`AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|-----BEGIN|(?i)(?:password|secret|token|auth_token)\s*=\s*"[^"$]+"`)
)

// wildcards returns the actions of a file's policies that a wildcard is in.
func wildcards(text string) (found []string) {
	for _, list := range actionsPattern.FindAllStringSubmatch(text, -1) {
		for _, action := range stringPattern.FindAllStringSubmatch(list[1], -1) {
			if strings.Contains(action[1], "*") {
				found = append(found, action[1])
			}
		}
	}
	return found
}

// No policy grants an action by a wildcard, and no file has a secret.
func TestNoWildcardsNoSecrets(t *testing.T) {
	assert.Equal(t, []string{"s3:*"}, wildcards(`actions = ["s3:GetObject", "s3:*"]`))
	assert.Equal(t, []string{"*"}, wildcards("actions = [\n  \"*\",\n]"))
	assert.True(t, secretPattern.MatchString(`master_password = "hunter2"`))
	assert.False(t, secretPattern.MatchString(`secret = aws_secretsmanager_secret.x.arn`))
	actions := 0
	for path, text := range files(t, ".tf", ".vtl", ".json") {
		actions += len(actionsPattern.FindAllString(text, -1))
		assert.Empty(t, wildcards(text), path)
		assert.Empty(t, secretPattern.FindAllString(text, -1), path)
	}
	assert.Greater(t, actions, 20, "policies are where they are looked for")
}

// A dead-letter queue takes a message out of the middle: only requests, which
// have no order, may have one.
func TestDeadLettersOnlyWithoutOrder(t *testing.T) {
	block := regexp.MustCompile(`(?ms)^resource "aws_sqs_queue" "([a-z_]+)" \{.*?^\}`)
	found := map[string]bool{}
	for _, m := range block.FindAllStringSubmatch(files(t, "messaging/main.tf")["modules/messaging/main.tf"], -1) {
		found[m[1]] = strings.Contains(m[0], "redrive_policy")
		if found[m[1]] {
			assert.NotContains(t, m[0], "fifo_queue", m[1])
		}
	}
	assert.Equal(t, map[string]bool{"requests": true, "dead_requests": false, "commands": false, "consumer": false, "push": false}, found)
}

// Every variable and output says what it is, and every variable of a module
// refuses what it cannot be, unless its type says all or another resource of
// ours makes it.
func TestVariablesAreDescribed(t *testing.T) {
	block := regexp.MustCompile(`(?ms)^(variable|output) "([a-z0-9_]+)" \{.*?^\}`)
	n := 0
	for path, text := range files(t, ".tf") {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			n++
			assert.Regexp(t, `description\s*=`, m[0], "%s: %s %s", path, m[1], m[2])
		}
	}
	assert.Greater(t, n, 80)
}
