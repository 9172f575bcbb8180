package checks

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	net "k8s.io/api/networking/v1"
)

// pods are the templates of a rendering, by component.
func pods(t *testing.T, docs []string) map[string]core.PodSpec {
	t.Helper()
	out := map[string]core.PodSpec{}
	for _, doc := range docs {
		switch d, _ := decoded(t, doc); d := d.(type) {
		case *apps.Deployment:
			out[d.Labels["app.kubernetes.io/component"]] = d.Spec.Template.Spec
		case *batch.Job:
			out[d.Labels["app.kubernetes.io/component"]] = d.Spec.Template.Spec
		}
	}
	return out
}

// wrongIn says what of a rendering breaks a promise.
func wrongIn(t *testing.T, docs []string) (wrong []string) {
	t.Helper()
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	var hooks, made []string // what helm makes before the rest; accounts of the chart
	var accounts []string
	for _, doc := range docs {
		d, err := decoded(t, doc)
		if err != nil {
			say("%v", err)
			continue
		}
		switch d := d.(type) {
		case *core.ServiceAccount:
			made = append(made, d.Name)
			if d.AutomountServiceAccountToken == nil || *d.AutomountServiceAccountToken {
				say("the account's token is mounted")
			}
		case *batch.Job:
			if d.Labels["app.kubernetes.io/component"] == "once" {
				if d.Annotations["helm.sh/hook"] != "test" || len(d.Annotations) != 1 {
					say("the command that runs once runs at an install too")
				}
				if d.Spec.BackoffLimit == nil || *d.Spec.BackoffLimit != 0 || d.Spec.Template.Spec.RestartPolicy != core.RestartPolicyNever {
					say("the command that runs once is carried out again by itself")
				}
				continue
			}
			hooks = append(hooks, d.Annotations["helm.sh/hook"])
			accounts = append(accounts, d.Spec.Template.Spec.ServiceAccountName)
			if d.Spec.Template.Spec.RestartPolicy != core.RestartPolicyNever {
				say("the migration is restarted in its pod, and its log is lost")
			}
		case *apps.Deployment:
			if d.Name == "closeout-worker" && d.Spec.Replicas != nil && *d.Spec.Replicas < 1 {
				say("there is no worker")
			}
			if d.Spec.Strategy.RollingUpdate == nil || d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 {
				say("%s: a rollout takes away a pod before it has another", d.Name)
			}
		case map[string]any:
			if d["kind"] == "ScaledObject" {
				wrong = append(wrong, wrongScaler(t, d)...)
			}
		}
	}
	if !slices.Equal(hooks, []string{"pre-install,pre-upgrade"}) {
		say("the migration does not come before install and upgrade: %q", hooks)
	}
	for _, a := range accounts {
		if slices.Contains(made, a) {
			say("the migration comes before its account %s is made", a)
		}
	}
	templates := pods(t, docs)
	for component, p := range templates {
		for _, w := range wrongPod(t, p) {
			say("%s: %s", component, w)
		}
	}
	wrong = append(wrong, wrongGraces(t, templates)...)
	return wrong
}

func wrongPod(t *testing.T, p core.PodSpec) (wrong []string) {
	t.Helper()
	say := func(is bool, what string) {
		if is {
			wrong = append(wrong, what)
		}
	}
	no := func(b *bool) bool { return b != nil && !*b }
	yes := func(b *bool) bool { return b != nil && *b }
	s := p.SecurityContext
	say(s == nil || !yes(s.RunAsNonRoot) || s.RunAsUser == nil || *s.RunAsUser != 65532 || s.FSGroup == nil, "it runs as somebody else than 65532")
	say(s == nil || s.SeccompProfile == nil || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault, "its system calls are not filtered")
	say(!no(p.AutomountServiceAccountToken), "a token is mounted")
	say(!no(p.EnableServiceLinks), "Kubernetes sets variables of its own")
	volumes := map[string]bool{}
	for _, v := range p.Volumes {
		volumes[v.Name] = true
		say(v.HostPath != nil, "it sees the node's files")
		say(v.Projected != nil && (v.Projected.DefaultMode == nil || *v.Projected.DefaultMode != 0o440), "anybody may read its secrets")
	}
	for _, c := range p.Containers {
		s := c.SecurityContext
		say(s == nil || !yes(s.ReadOnlyRootFilesystem), "its root can be written")
		say(s == nil || !no(s.AllowPrivilegeEscalation) || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) > 0, "it has privileges")
		say(c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero(), "its needs are not told")
		say(!c.Resources.Limits.Cpu().IsZero(), "its CPU is throttled")
		say(strings.HasSuffix(c.Image, ":latest") || !strings.ContainsAny(c.Image[strings.LastIndex(c.Image, "/")+1:], ":@"), "its image may be any")
		say(len(c.EnvFrom) > 0, "its environment stands elsewhere")
		for _, e := range c.Env {
			_, open := refused(t, "server", []string{e.Name})
			_, also := refused(t, "worker", []string{e.Name})
			say(len(open)+len(also) > 0 || e.ValueFrom != nil || strings.HasSuffix(e.Name, "HEADERS"), "a secret is in its environment: "+e.Name)
		}
		ports := map[string]bool{}
		for _, port := range c.Ports {
			ports[port.Name] = true
		}
		for _, m := range c.VolumeMounts {
			say(!volumes[m.Name] || !m.ReadOnly, "its mount "+m.Name+" is of nothing, or can be written")
		}
		for what, probe := range map[string]*core.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			if len(c.Ports) == 0 {
				continue // the migration, and what runs once
			}
			say(probe == nil || probe.HTTPGet == nil || !ports[probe.HTTPGet.Port.String()], "there is no "+what+" probe, or no such port")
			if probe != nil && probe.HTTPGet != nil && what != "readiness" {
				say(probe.HTTPGet.Path == "/ready" || c.Name == "worker" && probe.HTTPGet.Path == "/health", "an outage of Redis or the ledger restarts it, by its "+what+" probe")
			}
		}
	}
	return wrong
}

// wrongGraces holds the grace periods to what the program takes to stop, as its source says.
func wrongGraces(t *testing.T, pods map[string]core.PodSpec) (wrong []string) {
	t.Helper()
	for component, takes := range map[string]time.Duration{"worker": workerStops(t), "server": serverStops(t)} {
		p := pods[component]
		for _, c := range p.Containers {
			if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Sleep != nil {
				takes += time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
			} else if component == "server" {
				wrong = append(wrong, "the server stops while requests still come")
			}
		}
		const room = 10 * time.Second // for spans, and a slow node
		if p.TerminationGracePeriodSeconds == nil || time.Duration(*p.TerminationGracePeriodSeconds)*time.Second < takes+room {
			wrong = append(wrong, fmt.Sprintf("%s: its grace period is no %s", component, takes+room))
		}
	}
	return wrong
}

// query is what the scaler may ask: the greatest of a series that each process shows alike.
var query = regexp.MustCompile(`^max\((\w+)\{\w+="[^"]*"(,\w+="[^"]*")*\}\)$`)

func wrongScaler(t *testing.T, tree map[string]any) (wrong []string) {
	t.Helper()
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	spec, _ := tree["spec"].(map[string]any)
	if n, _ := spec["minReplicaCount"].(float64); n < 1 || spec["idleReplicaCount"] != nil {
		say("KEDA may take away the last worker")
	}
	fallback, _ := spec["fallback"].(map[string]any)
	if n, _ := fallback["replicas"].(float64); n < 1 || fallback["behavior"] != "currentReplicasIfHigher" {
		say("without Prometheus workers are taken away")
	}
	if target, _ := spec["scaleTargetRef"].(map[string]any); target["name"] != "closeout-worker" {
		say("it scales %v", target["name"])
	}
	names := metricNames(t)
	triggers, _ := spec["triggers"].([]any)
	asked := map[string]bool{}
	for _, tr := range triggers {
		trigger, _ := tr.(map[string]any)
		meta, _ := trigger["metadata"].(map[string]any)
		for key := range meta { // what KEDA's scaler reads; it says nothing of others
			if !slices.Contains([]string{"serverAddress", "query", "threshold", "ignoreNullValues"}, key) {
				say("the scaler knows no %s", key)
			}
		}
		if meta["ignoreNullValues"] != "false" {
			say("what is not known counts as 0")
		}
		q, _ := meta["query"].(string)
		m := query.FindStringSubmatch(q)
		if m == nil || !names[m[1]] {
			say("it asks %q, which no process shows", q)
			continue
		}
		asked[m[1]] = true
	}
	if !asked["closeout_due_visits"] || !asked["closeout_due_visit_oldest_seconds"] {
		say("it does not look at both backlog and lateness")
	}
	return wrong
}

func TestHelmKeepsItsPromises(t *testing.T) {
	for name, docs := range everything(t) {
		for _, w := range wrongIn(t, docs) {
			t.Errorf("%s: %s", name, w)
		}
	}
}

// Each promise, broken by one change of what is rendered, is missed by the check.
func TestHelmBrokenPromisesAreSeen(t *testing.T) {
	docs := rendered(t, "full", "autoscaling: {selector: 'job=\"closeout\"'}")
	plain := rendered(t, "least", "")
	once := rendered(t, "least", "once: {command: [monitor, stats]}")
	for _, c := range []struct {
		docs                     []string
		kind, right, wrong, want string
	}{
		{plain, "Deployment/worker", "replicas: 2", "replicas: 0", "there is no worker"},
		{docs, "Deployment/worker", "maxUnavailable: 0", "maxUnavailable: 1", "before it has another"},
		{docs, "Deployment/worker", "terminationGracePeriodSeconds: 90", "terminationGracePeriodSeconds: 70", "grace period"},
		{docs, "Deployment/server", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 30", "grace period"},
		{docs, "Deployment/server", "preStop: {sleep: {seconds: 10}}", "preStop: null", "while requests still come"},
		{docs, "Deployment/worker", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "root can be written"},
		{docs, "Job/migrate", "runAsUser: 65532", "runAsUser: 0", "somebody else"},
		{docs, "Deployment/server", "type: RuntimeDefault", "type: Unconfined", "not filtered"},
		{docs, "Deployment/server", "drop: [ALL]", "drop: [NET_RAW]", "privileges"},
		{docs, "Deployment/server", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "token"},
		{docs, "Deployment/server", "enableServiceLinks: false", "enableServiceLinks: true", "variables of its own"},
		{docs, "Deployment/worker", "name: CLOSEOUT_REDIS_URL_FILE", "name: CLOSEOUT_REDIS_URL", "a secret is in its environment"},
		{docs, "Deployment/worker", "defaultMode: 0440", "defaultMode: 0444", "anybody may read"},
		{docs, "Deployment/worker", "path: /alive", "path: /health", "restarts it"},
		{docs, "Deployment/worker", "port: health", "port: http", "no such port"},
		{plain, "Deployment/worker", "closeout:v1.2.3", "closeout:latest", "may be any"},
		{docs, "Job/migrate", "pre-install,pre-upgrade", "post-install", "does not come before"},
		{docs, "Job/migrate", "restartPolicy: Never", "restartPolicy: Never\n      serviceAccountName: closeout", "before its account"},
		{once, "Job/once", "hook: test", "hook: post-upgrade", "at an install too"},
		{once, "Job/once", "backoffLimit: 0", "backoffLimit: 1", "again by itself"},
		{once, "Job/once", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "once: its root can be written"},
		{docs, "ServiceAccount/", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "account's token"},
		{docs, "ScaledObject/worker", "minReplicaCount: 2", "minReplicaCount: 0", "the last worker"},
		{docs, "ScaledObject/worker", "minReplicaCount: 2", "minReplicaCount: 2\n  idleReplicaCount: 0", "the last worker"},
		{docs, "ScaledObject/worker", "ignoreNullValues: \"false\"", "ignoreNullValues: \"true\"", "counts as 0"},
		{docs, "ScaledObject/worker", "behavior: currentReplicasIfHigher", "behavior: static", "without Prometheus"},
		{docs, "ScaledObject/worker", "closeout_due_visits", "closeout_due_visit", "which no process shows"},
		{docs, "ScaledObject/worker", "closeout_due_visits", "asynq_queue_size", "which no process shows|both backlog"},
		{docs, "ScaledObject/worker", "threshold:", "treshold:", "knows no"},
	} {
		kind, component, _ := strings.Cut(c.kind, "/")
		changed, n := slices.Clone(c.docs), 0
		for i, doc := range changed {
			if strings.Contains(doc, "kind: "+kind+"\n") && (component == "" || strings.Contains(doc, "component: "+component+"\n")) {
				changed[i] = strings.Replace(doc, c.right, c.wrong, 1)
				if changed[i] != doc {
					n++
				}
			}
		}
		if n != 1 {
			t.Errorf("%s: %q stands in %d documents", c.kind, c.right, n)
			continue
		}
		if got := strings.Join(wrongIn(t, changed), "; "); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%s with %q: the check says %q, want %q", c.kind, c.wrong, got, c.want)
		}
	}
}

// The Ingress names every address of the API and of the console, and neither the metrics nor the pages for orchestrators.
func TestHelmIngressLeavesMetricsInside(t *testing.T) {
	var ingress *net.Ingress
	for _, doc := range rendered(t, "full", "") {
		if d, _ := decoded(t, doc); d != nil {
			if i, ok := d.(*net.Ingress); ok {
				ingress = i
			}
		}
	}
	if ingress == nil || len(ingress.Spec.TLS) != 1 || len(ingress.Spec.Rules) != 1 {
		t.Fatal("there is no Ingress of one host with TLS")
	}
	open := func(path string) bool {
		for _, p := range ingress.Spec.Rules[0].HTTP.Paths {
			if p.Backend.Service.Name != "closeout-server" || p.Backend.Service.Port.Name != "http" {
				t.Errorf("%s leads to %v", p.Path, p.Backend)
			}
			if path == p.Path || *p.PathType == net.PathTypePrefix && strings.HasPrefix(path+"/", p.Path+"/") {
				return true
			}
		}
		return false
	}
	for _, inside := range []string{"/metrics", "/metrics/", "/health", "/ready", "/METRICS", "//metrics"} {
		if open(inside) {
			t.Errorf("%s is reached from outside", inside)
		}
	}
	// What the sources serve, by their literals; {id} stands for anything.
	routes := regexp.MustCompile(`(?:k\.(?:get|post)\(|HandleFunc\(|Handle\()"(?:GET |POST )?(/[^"]*)"|Path: "(/[^"]*)"|Path\s*= "(/[^"]*)"|http\.Method\w+, "(/[^"]*)"`)
	n := 0
	for _, file := range sources(t, "server", "console", "signin", "web") {
		for _, m := range routes.FindAllStringSubmatch(string(read(t, file)), -1) {
			path := strings.Join(m[1:], "")
			if path = strings.ReplaceAll(path, "{$}", ""); slices.Contains([]string{"/health", "/ready", "/metrics"}, path) {
				continue
			}
			n++
			if !open(path) {
				t.Errorf("%s, which %s serves, is not reached through the Ingress: name it in templates/ingress.yaml", path, file)
			}
		}
	}
	if n < 40 {
		t.Errorf("the sources show %d routes alone: this check does not see them any more", n)
	}
}
