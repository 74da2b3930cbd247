package terraform_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// permitted are the actions that a call of an SDK client needs, where it is not
// the one of its name. A transaction needs those of its parts.
var permitted = map[string][]string{
	"dynamodb:TransactWriteItems": {"dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
	"s3:HeadObject":               {"s3:GetObject"},
	"s3:ListObjectsV2":            {"s3:ListBucket"},
	"sns:PublishBatch":            {"sns:Publish"},
	"sqs:SendMessageBatch":        {"sqs:SendMessage"},
}

// notByServices are calls that whoever sets up tables makes.
var notByServices = map[string]bool{"CreateTable": true, "DescribeTimeToLive": true, "UpdateTimeToLive": true}

var (
	callPattern   = regexp.MustCompile(`\b(\w+)\.client\.([A-Z]\w+)\(`)
	methodPattern = regexp.MustCompile(`(?ms)^func \(s \*store\) (\w+)\(.*?^\}`)
	mayPattern    = regexp.MustCompile(`(?m)^\s+(\w+)\s*= \{ sid = "\w+", actions = \[(.*?)\]`)
)

// mayDo returns the actions of each of functions.tf's statements.
func mayDo(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, m := range mayPattern.FindAllStringSubmatch(files(t, "functions.tf")["functions.tf"], -1) {
		for _, a := range stringPattern.FindAllStringSubmatch(m[2], -1) {
			out[m[1]] = append(out[m[1]], a[1])
		}
	}
	require.Greater(t, len(out), 10)
	return out
}

// What an adapter calls its role may do: an action that is missing is seen on
// AWS and nowhere else, since no stand-in asks.
func TestRolesMayDoWhatAdaptersCall(t *testing.T) {
	may := mayDo(t)
	read := func(path string) string {
		data, err := os.ReadFile(filepath.Join("../../../adapters", path))
		require.NoError(t, err)
		return string(data)
	}
	needs := func(statement, service, call, where string) {
		if notByServices[call] {
			return
		}
		actions, ok := permitted[service+":"+call]
		if !ok {
			actions = []string{service + ":" + call}
		}
		for _, a := range actions {
			assert.Contains(t, may[statement], a, "%s: %s", statement, where)
		}
	}

	// Journal and balances share a store: what each calls of it, it needs.
	of := map[string][]string{}
	for _, m := range methodPattern.FindAllStringSubmatch(read("dynamodb/store.go"), -1) {
		for _, c := range callPattern.FindAllStringSubmatch(m[0], -1) {
			of[m[1]] = append(of[m[1]], c[2])
		}
	}
	require.Equal(t, []string{"BatchGetItem"}, of["getAll"], "the store's methods are where they are looked for")
	statements := map[string]string{"j": "write_journal", "b": "write_balances"}
	sources, err := filepath.Glob("../../../adapters/dynamodb/*.go")
	require.NoError(t, err)
	found := map[string]int{}
	for _, source := range sources {
		name := filepath.Base(source)
		if name == "store.go" || name == "table.go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		text := read("dynamodb/" + name)
		for receiver, statement := range statements {
			for method, calls := range of {
				if strings.Contains(text, " "+receiver+"."+method+"(") || strings.Contains(text, "\t"+receiver+"."+method+"(") {
					for _, call := range calls {
						found[statement]++
						needs(statement, "dynamodb", call, name+": "+method)
					}
				}
			}
		}
		for _, c := range callPattern.FindAllStringSubmatch(text, -1) {
			require.Contains(t, statements, c[1], name)
			needs(statements[c[1]], "dynamodb", c[2], name)
		}
	}
	assert.Greater(t, found["write_journal"], 5)
	assert.Greater(t, found["write_balances"], 5)

	for _, a := range []struct{ file, statement, service string }{
		{"apigateway/dynamodb.go", "connections", "dynamodb"},
		{"s3/s3.go", "archive", "s3"},
		{"sns/publisher.go", "publish", "sns"},
		{"eventbridge/eventbridge.go", "bus", "events"},
	} {
		calls := callPattern.FindAllStringSubmatch(read(a.file), -1)
		assert.NotEmpty(t, calls, a.file)
		for _, c := range calls {
			needs(a.statement, a.service, c[2], a.file)
		}
	}
}

// What a service may do passes its endpoint, whose policy names the actions too.
func TestEndpointsLetThroughWhatRolesMayDo(t *testing.T) {
	through := map[string]bool{}
	endpoint := map[string]bool{}
	for path, text := range files(t, "network/main.tf", "eks.tf") {
		for _, a := range regexp.MustCompile(`"((\w[\w-]*):[A-Z]\w+)"`).FindAllStringSubmatch(text, -1) {
			through[a[1]], endpoint[a[2]] = true, true
		}
		require.NotEmpty(t, through, path)
	}
	// Not by an endpoint: a connection's password is signed here, and push, which
	// alone calls @connections, stands outside.
	elsewhere := map[string]bool{"elasticache:Connect": true, "rds-db:connect": true, "execute-api:ManageConnections": true}
	n := 0
	for statement, actions := range mayDo(t) {
		for _, a := range actions {
			if !elsewhere[a] {
				n++
				assert.True(t, through[a], "%s: no endpoint lets %s through", statement, a)
			}
		}
	}
	for _, list := range actionsPattern.FindAllStringSubmatch(files(t, "eks/main.tf")["modules/eks/main.tf"], -1) {
		for _, a := range stringPattern.FindAllStringSubmatch(list[1], -1) {
			if strings.HasPrefix(a[1], "sts:") || strings.HasPrefix(a[1], "kms:") { // of a trust policy; called by other services
				continue
			}
			n++
			assert.True(t, through[a[1]], "the cluster: no endpoint lets %s through", a[1])
		}
	}
	assert.Greater(t, n, 40)
	assert.True(t, endpoint["sqs"] && endpoint["dynamodb"])
}

// CloudFront sends every operation of the API to the API.
func TestCloudFrontKnowsEveryPath(t *testing.T) {
	m := regexp.MustCompile(`api_paths = \[(.*?)\]`).FindStringSubmatch(files(t, "edge/main.tf")["modules/edge/main.tf"])
	require.NotNil(t, m)
	var patterns []string
	for _, p := range stringPattern.FindAllStringSubmatch(m[1], -1) {
		patterns = append(patterns, strings.ReplaceAll(regexp.QuoteMeta(p[1]), `\*`, ".*"))
	}
	sent := regexp.MustCompile("^(" + strings.Join(patterns, "|") + ")$")
	data, err := os.ReadFile("../../internal/api/openapi.yaml")
	require.NoError(t, err)
	paths := regexp.MustCompile(`(?m)^  (/\S*):$`).FindAllSubmatch(data, -1)
	assert.Greater(t, len(paths), 10)
	for _, p := range paths {
		if path := string(p[1]); !strings.HasPrefix(path, "/demo/") { // of the local venue alone
			assert.Regexp(t, sent, path)
		}
	}
}
