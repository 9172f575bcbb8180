package checks

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	net "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	strict "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// What Kubernetes itself knows, by its types; what others have added, by the definitions that they install.
var (
	kinds = map[string]func() any{
		"apps/v1 Deployment":                 func() any { return new(apps.Deployment) },
		"batch/v1 Job":                       func() any { return new(batch.Job) },
		"v1 Service":                         func() any { return new(core.Service) },
		"v1 ServiceAccount":                  func() any { return new(core.ServiceAccount) },
		"networking.k8s.io/v1 Ingress":       func() any { return new(net.Ingress) },
		"networking.k8s.io/v1 NetworkPolicy": func() any { return new(net.NetworkPolicy) },
		"policy/v1 PodDisruptionBudget":      func() any { return new(policy.PodDisruptionBudget) },
	}
	definitions = map[string]string{
		"keda.sh/v1alpha1 ScaledObject":           "keda.sh_scaledobjects.yaml",
		"monitoring.coreos.com/v1 PodMonitor":     "monitoring.coreos.com_podmonitors.yaml",
		"monitoring.coreos.com/v1 PrometheusRule": "monitoring.coreos.com_prometheusrules.yaml",
	}
)

// decoded is a document as what it says it is: a value of Kubernetes's, or a tree for what others define. A field that nobody knows
// is an error, and so is one given twice.
func decoded(t *testing.T, doc string) (any, error) {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict([]byte(doc))
	if err != nil {
		return nil, err
	}
	var of struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return nil, err
	}
	kind := of.APIVersion + " " + of.Kind
	if made, ok := kinds[kind]; ok {
		into := made()
		wrong, err := strict.UnmarshalStrict(text, into)
		return into, errors.Join(append(wrong, err)...)
	}
	file, ok := definitions[kind]
	if !ok {
		return nil, fmt.Errorf("nobody knows what a %s is", kind)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	return tree, definition(t, file, of.APIVersion).Validate(tree)
}

// compiled are the definitions that were read already, by their files.
var compiled sync.Map

// definition is what a CustomResourceDefinition demands of one version, made strict.
func definition(t *testing.T, file, apiVersion string) *jsonschema.Schema {
	t.Helper()
	if made, ok := compiled.Load(file); ok {
		return made.(*jsonschema.Schema)
	}
	var crd struct {
		Spec struct {
			Group    string `json:"group"`
			Versions []struct {
				Name   string `json:"name"`
				Schema struct {
					OpenAPIV3Schema any `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(read(t, "deploy/checks/testdata/crds/"+file), &crd); err != nil {
		t.Fatal(err)
	}
	for _, v := range crd.Spec.Versions {
		if crd.Spec.Group+"/"+v.Name != apiVersion {
			continue
		}
		narrow(v.Schema.OpenAPIV3Schema)
		c := jsonschema.NewCompiler()
		if err := c.AddResource("crd.json", v.Schema.OpenAPIV3Schema); err != nil {
			t.Fatal(err)
		}
		s, err := c.Compile("crd.json")
		if err != nil {
			t.Fatal(err)
		}
		compiled.Store(file, s)
		return s
	}
	t.Fatalf("%s defines no %s", file, apiVersion)
	return nil
}

// narrow refuses unknown fields where a definition lists fields: a server would drop them in silence.
func narrow(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if _, lists := s["properties"].(map[string]any); lists && s["additionalProperties"] == nil && s["x-kubernetes-preserve-unknown-fields"] == nil {
			s["additionalProperties"] = false
		}
		for _, under := range s {
			narrow(under)
		}
	case []any:
		for _, under := range s {
			narrow(under)
		}
	}
}

// combinations are values that matter together, over those that must be given.
var combinations = map[string]string{
	"least":               "",
	"live":                "environment: live",
	"KEDA":                "autoscaling: {enabled: true, prometheusAddress: \"http://prometheus:9090\"}",
	"KEDA by a selector":  "autoscaling: {enabled: true, prometheusAddress: \"http://prometheus:9090\", selector: 'job=\"closeout\"'}",
	"KEDA, one worker":    "autoscaling: {enabled: true, minReplicas: 1, maxReplicas: 1, prometheusAddress: \"http://prometheus:9090\"}",
	"KEDA and monitor":    "{autoscaling: {enabled: true, prometheusAddress: \"http://prometheus:9090\"}, podMonitor: {enabled: true}}",
	"ingress":             "ingress: {enabled: true, host: closeout.firm.example}",
	"ingress, live, KEDA": "{environment: live, ingress: {enabled: true, host: a.example}, autoscaling: {enabled: true, prometheusAddress: \"http://prometheus:9090\"}}",
	"letters":             "secret: {optional: [CLOSEOUT_SMTP_URL]}",
	"no policies":         "{networkPolicy: {enabled: false}, podDisruptionBudget: {enabled: false}}",
	"nobody reaches it":   "networkPolicy: {prometheus: [], ingressController: []}",
	"another's account":   "serviceAccount: {create: false, name: payments}",
	"the default account": "serviceAccount: {create: false}",
	"one of each":         "{server: {replicas: 1}, worker: {replicas: 1}}",
	"rules alone":         "prometheusRule: {enabled: true}",
	"a command":           "{once: {command: [ledger, reconcile, --apply, --reason, 'restored to 14:05: disk of db1'], by: anna}, secret: {optional: [CLOSEOUT_LEGACY_REDIS_URL]}}",
	"clear":               "settings: {CLOSEOUT_PLAINTEXT: \"redis,postgres\"}",
}

// everything is each document of every combination, by its name.
func everything(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{"full": rendered(t, "full", "")}
	for name, more := range combinations {
		out[name] = rendered(t, "least", more)
	}
	return out
}

func TestHelmDocumentsAreWhatTheySay(t *testing.T) {
	for name, docs := range everything(t) {
		for _, doc := range docs {
			if _, err := decoded(t, doc); err != nil {
				t.Errorf("%s: %v\n%s", name, err, doc)
			}
		}
	}
}

// The check above can fail: one slip in each kind of document is seen.
func TestHelmSlipsAreSeen(t *testing.T) {
	docs := rendered(t, "full", "")
	for _, slip := range []struct{ kind, right, wrong string }{
		{"Deployment", "readinessProbe:", "readynessProbe:"},
		{"Deployment", "automountServiceAccountToken", "automountServiceaccountToken"},
		{"Deployment", "maxSurge: 1", "maxSurge: 1, maxSurge: 1"},
		{"Job", "backoffLimit: 3", "backoffLimit: three"},
		{"NetworkPolicy", "policyTypes:", "policyType:"},
		{"Ingress", "pathType: Prefix", "pathtype: Prefix"},
		{"PodDisruptionBudget", "maxUnavailable:", "maxUnavailible:"},
		{"Service", "targetPort", "targetport"},
		{"ServiceAccount", "automountServiceAccountToken: false", "automountServiceAccountToken: \"no\""},
		{"ScaledObject", "minReplicaCount:", "minReplicas:"},
		{"ScaledObject", "behavior: currentReplicasIfHigher", "behavior: whatever"},
		{"ScaledObject", "stabilizationWindowSeconds:", "stabilisationWindowSeconds:"},
		{"PodMonitor", "podMetricsEndpoints:", "endpoints:"},
		{"PodMonitor", "interval: 30s", "interval: 30"},
		{"PrometheusRule", "expr:", "expression:"},
		{"PrometheusRule", "for: 5m", "for: soon"},
	} {
		tried := false
		for _, doc := range docs {
			if !strings.Contains(doc, "\nkind: "+slip.kind+"\n") || !strings.Contains(doc, slip.right) || tried {
				continue
			}
			tried = true
			if _, err := decoded(t, strings.Replace(doc, slip.right, slip.wrong, 1)); err == nil {
				t.Errorf("%s: nobody sees %q", slip.kind, slip.wrong)
			}
		}
		if !tried {
			t.Errorf("%s: there is no %q to slip at", slip.kind, slip.right)
		}
	}
}
