// Package kubernetes_test builds the manifests and checks them strictly against
// the schemas of Kubernetes, and for what must not be forgotten.
package kubernetes_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const (
	kustomize         = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
	kubernetesVersion = "v1.33.4" // whose API the manifests are written for
)

type object = map[string]any

// at walks into nested maps; nil where there is nothing.
func at(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(object)
		v = m[name]
	}
	return v
}

func list(v any) []any { l, _ := v.([]any); return l }

// built returns the objects that kustomize makes of a directory.
func built(t *testing.T, dir string) (objects []object) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "run", kustomize, "build", dir)
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", dir, &wrong)
	dec := yaml.NewDecoder(bytes.NewReader(out))
	for {
		var o object
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return objects
		} else {
			require.NoError(t, err)
		}
		objects = append(objects, o)
	}
}

// schemas returns the definitions of Kubernetes' API, in which no object may
// have a field it does not name.
func schemas(t *testing.T) *jsonschema.Compiler {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module schemas\n"), 0o600))
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "k8s.io/kubernetes@"+kubernetesVersion)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	require.NoError(t, err, "%s", out)
	var module struct{ Dir string }
	require.NoError(t, json.Unmarshal(out, &module))
	data, err := os.ReadFile(filepath.Join(module.Dir, "api/openapi-spec/swagger.json"))
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	definitions := at(doc, "definitions").(object)
	for name, d := range definitions {
		d := d.(object)
		if _, ok := d["properties"]; ok {
			d["additionalProperties"] = false
		}
		// What Kubernetes reads as either.
		switch {
		case strings.HasSuffix(name, ".IntOrString"):
			definitions[name] = object{"type": []any{"string", "integer"}}
		case strings.HasSuffix(name, ".Quantity"):
			definitions[name] = object{"type": []any{"string", "number"}}
		}
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4)
	require.NoError(t, c.AddResource("swagger.json", object{"definitions": definitions}))
	return c
}

// validate checks an object against the schema of its kind.
func validate(c *jsonschema.Compiler, o object) error {
	group, version, ok := strings.Cut(o["apiVersion"].(string), "/")
	if !ok {
		group, version = "core", group
	}
	group = strings.TrimSuffix(group, ".k8s.io")
	schema, err := c.Compile("swagger.json#/definitions/io.k8s.api." + group + "." + version + "." + o["kind"].(string))
	if err != nil {
		return err
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func TestManifests(t *testing.T) {
	c := schemas(t)
	for _, wrong := range []string{
		`{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}, "sepc": {}}`,
		`{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {}}}`,
		`{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "x", "imgae": "y"}]}}}}`,
		`{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": {}, "replicas": "three", "template": {}}}`,
	} {
		var o object
		require.NoError(t, json.Unmarshal([]byte(wrong), &o))
		assert.Error(t, validate(c, o), wrong)
	}
	for _, dir := range []string{"base", "overlays/production"} {
		objects := built(t, dir)
		for _, o := range objects {
			require.NoError(t, validate(c, o), "%s: %s %v", dir, o["kind"], at(o, "metadata", "name"))
		}
		check(t, dir, objects)
	}
	objects := built(t, "logs")
	kinds := map[string]object{}
	config := ""
	for _, o := range objects {
		require.NoError(t, validate(c, o), "logs: %s %v", o["kind"], at(o, "metadata", "name"))
		kinds[o["kind"].(string)] = o
		if text, ok := at(o, "data", "fluent-bit.conf").(string); ok {
			config = text
		}
	}
	// The namespace and the container whose logs these are, those of the services.
	assert.Contains(t, config, "/var/log/containers/*_exchange_service-*.log")
	assert.Contains(t, config, "json/emf", "metrics are made of them")
	assert.Equal(t, "exchange-logs", at(kinds["DaemonSet"], "metadata", "namespace"))
	pod := at(kinds["DaemonSet"], "spec", "template", "spec")
	assert.Equal(t, "fluent-bit", at(pod, "serviceAccountName"), "Terraform gives it a role")
	assert.Equal(t, true, at(list(at(pod, "containers"))[0], "securityContext", "readOnlyRootFilesystem"))
}

// check looks for what a schema does not ask for.
func check(t *testing.T, dir string, objects []object) {
	found := map[string]map[string]object{}
	for _, o := range objects {
		kind := o["kind"].(string)
		if found[kind] == nil {
			found[kind] = map[string]object{}
		}
		found[kind][at(o, "metadata", "name").(string)] = o
	}
	assert.Empty(t, found["Secret"], "%s: services sign in with their roles", dir)
	assert.Contains(t, found["NetworkPolicy"], "nothing-unless-said", dir)
	assert.Equal(t, "restricted", at(found["Namespace"]["exchange"], "metadata", "labels", "pod-security.kubernetes.io/enforce"), dir)
	workloads := map[string]object{}
	for _, kind := range []string{"Deployment", "StatefulSet"} {
		for name, o := range found[kind] {
			workloads[name] = o
		}
	}
	names := []string{}
	for name, o := range workloads {
		names = append(names, name)
		pod := at(o, "spec", "template", "spec")
		assert.Equal(t, true, at(pod, "securityContext", "runAsNonRoot"), name)
		assert.Equal(t, name, at(pod, "serviceAccountName"), name)
		assert.Contains(t, found["ServiceAccount"], name)
		assert.Len(t, list(at(pod, "topologySpreadConstraints")), 2, name)
		assert.EqualValues(t, 60, at(pod, "terminationGracePeriodSeconds"), name)
		require.Len(t, list(at(pod, "containers")), 1, name)
		container := list(at(pod, "containers"))[0]
		assert.Equal(t, "service", at(container, "name"), "%s: logs are collected by it", name)
		for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
			assert.NotNil(t, at(container, probe, "httpGet"), "%s: %s", name, probe)
		}
		assert.NotEqual(t, at(container, "livenessProbe", "httpGet", "path"), at(container, "readinessProbe", "httpGet", "path"), name)
		assert.Equal(t, true, at(container, "securityContext", "readOnlyRootFilesystem"), name)
		assert.Equal(t, false, at(container, "securityContext", "allowPrivilegeEscalation"), name)
		assert.NotNil(t, at(container, "resources", "requests", "cpu"), name)
		assert.NotNil(t, at(container, "resources", "limits", "memory"), name)
		assert.Equal(t, object{"app": name}, at(found["PodDisruptionBudget"][name], "spec", "selector", "matchLabels"), name)
		assert.NotContains(t, container.(object)["image"], "latest", name)
	}
	assert.ElementsMatch(t, []string{"order-processor", "matching-engine", "market-data", "trade-recorder", "settler", "sweeper"}, names, dir)
	for _, name := range []string{"order-processor", "market-data", "trade-recorder", "settler"} {
		metrics := list(at(found["HorizontalPodAutoscaler"][name], "spec", "metrics"))
		require.Len(t, metrics, 2, "%s grows by CPU and by the age of its queue", name)
		assert.Equal(t, "cpu", at(metrics[0], "resource", "name"), name)
		assert.Equal(t, "sqs-oldest-message-age", at(metrics[1], "external", "metric", "name"), name)
	}
	engine := found["StatefulSet"]["matching-engine"]
	container := list(at(engine, "spec", "template", "spec", "containers"))[0]
	engines := list(at(container, "env"))[1]
	assert.Equal(t, "ENGINES", at(engines, "name"))
	replicas, err := json.Marshal(at(engine, "spec", "replicas"))
	require.NoError(t, err)
	assert.Equal(t, at(engines, "value"), string(replicas), "%s: every shard has an engine, and no engine has none", dir)
}
