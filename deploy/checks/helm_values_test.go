package checks

import (
	"strings"
	"testing"
)

// What a person can get wrong is refused before anything is sent to Kubernetes, and the refusal names it.
func TestHelmRefusesWrongValues(t *testing.T) {
	for _, c := range []struct{ more, says string }{
		{"environment: null", "missing property 'environment'"},
		{"environment: production", "'/environment': value must be one of 'sandbox', 'live'"},
		{"environment: Live", "'/environment': value must be one of"},
		{"image: {repository: null}", "'/image': missing property 'repository'"},
		{"image: {tag: latest}", "'/image/tag'"},
		{"image: {tag: 1.2}", "'/image/tag': got number, want string"},
		{"image: {tag: \"\"}", "image.tag or image.digest must be given"},
		{"image: {digest: \"sha256:abc\"}", "'/image/digest'"},
		{"image: {pullpolicy: Always}", "additional properties 'pullpolicy' not allowed"},
		{"secret: {name: null}", "'/secret': missing property 'name'"},
		{"secret: {name: \"\"}", "'/secret/name'"},
		{"secret: {optional: [CLOSEOUT_SMTP]}", "'/secret/optional/0': value must be one of"},
		{"secret: {elsewhere: {CLOSEOUT_LOG_LEVEL: {name: a, key: b}}}", "additional properties 'CLOSEOUT_LOG_LEVEL' not allowed"},
		{"secret: {elsewhere: {CLOSEOUT_REDIS_URL: {name: a}}}", "missing property 'key'"},
		{"secret: {values: {CLOSEOUT_ALPACA_KEY: AK123}}", "additional properties 'values' not allowed"},
		{"settings: {CLOSEOUT_DATABASE_URL: \"postgres://u:p@h/d\"}", "additional properties 'CLOSEOUT_DATABASE_URL' not allowed"},
		{"settings: {CLOSEOUT_REDIS_URL_FILE: /a}", "additional properties 'CLOSEOUT_REDIS_URL_FILE' not allowed"},
		{"settings: {CLOSEOUT_DAY: 20s}", "additional properties 'CLOSEOUT_DAY' not allowed"},
		{"settings: {CLOSEOUT_ENVIRONMENT: live}", "additional properties 'CLOSEOUT_ENVIRONMENT' not allowed"},
		{"settings: {CLOSEOUT_LOG_LEVLE: debug}", "additional properties 'CLOSEOUT_LOG_LEVLE' not allowed"},
		{"settings: {CLOSEOUT_ALPACA_CALLS_PER_MINUTE: 1000}", "got number, want string"},
		{"settings: {CLOSEOUT_ALPACA_CALLS_PER_MINUTE: \"1e3\"}", "does not match pattern"},
		{"settings: {CLOSEOUT_CONCURRENCY: \"0\"}", "does not match pattern"},
		{"otel: {OTEL_EXPORTER_OTLP_HEADERS: \"authorization=x\"}", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"otel: {PATH: /}", "'PATH'"},
		{"worker: {replicas: 0}", "'/worker/replicas': minimum: got 0, want 1"},
		{"worker: {replicas: \"2\"}", "'/worker/replicas': got string, want integer"},
		{"worker: {replica: 2}", "additional properties 'replica' not allowed"},
		{"worker: {resources: {limits: {memory: lots}}}", "'/worker/resources/limits/memory'"},
		{"server: {replicas: 0}", "'/server/replicas': minimum"},
		{"autoscaling: {enabled: true}", "'/autoscaling/prometheusAddress'"},
		{"autoscaling: {enabled: true, prometheusAddress: prometheus}", "'/autoscaling/prometheusAddress'"},
		{"autoscaling: {minReplicas: 0}", "'/autoscaling/minReplicas': minimum: got 0, want 1"},
		{"autoscaling: {minReplicas: 5, maxReplicas: 3}", "autoscaling.minReplicas (5) is above autoscaling.maxReplicas (3)"},
		{"autoscaling: {maxReplicas: 500}", "'/autoscaling/maxReplicas': maximum"},
		{"ingress: {enabled: true}", "'/ingress/host'"},
		{"ingress: {enabled: true, host: \"https://a.example\"}", "'/ingress/host'"},
		{"{ingress: {enabled: true, host: a.example}, settings: {CLOSEOUT_PUBLIC_URL: \"https://b.example\"}}", "give one of them"},
		{"secret: {optional: [CLOSEOUT_OPERATORS]}", "settings.CLOSEOUT_PUBLIC_URL must be given"},
		{"networkPolicy: {prometheus: [{namespace: monitoring}]}", "additional properties 'namespace' not allowed"},
		{"networkPolicy: {prometheus: [{}]}", "'/networkPolicy/prometheus/0'"},
		{"networkPolicy: {alsoTo: [{to: [], ports: [{port: 443}]}]}", "'/networkPolicy/alsoTo/0/to'"},
		{"networkPolicy: {dns: []}", "'/networkPolicy/dns'"},
		{"podMonitor: {interval: often}", "'/podMonitor/interval'"},
		{"prometheusRule: {runbook: docs}", "'/prometheusRule/runbook'"},
		{"once: {command: monitor stats}", "'/once/command': got string, want array"},
		{"replicas: 3", "additional properties 'replicas' not allowed"},
	} {
		_, err := renderChart(t, chartValues(t, "least", c.more), false)
		switch {
		case err == nil:
			t.Errorf("%s: taken", c.more)
		case !strings.Contains(err.Error(), c.says):
			t.Errorf("%s: refused without %q: %v", c.more, c.says, err)
		}
	}
}

// Who skips the schema is told all the same of what must not be.
func TestHelmTemplatesRefuseToo(t *testing.T) {
	for _, c := range []struct{ more, says string }{
		{"environment: null", "environment must be sandbox or live"},
		{"environment: production", "environment must be sandbox or live"},
		{"secret: {name: null}", "secret.name must name a Secret"},
		{"worker: {replicas: 0}", "worker.replicas must be 1 or more"},
		{"worker: {replicas: null}", "worker.replicas must be 1 or more"},
		{"autoscaling: {minReplicas: 0}", "autoscaling.minReplicas must be 1 or more"},
		{"autoscaling: {minReplicas: -1}", "autoscaling.minReplicas must be 1 or more"},
		{"autoscaling: {enabled: true, prometheusAddress: \"\"}", "autoscaling.prometheusAddress must be given"},
		{"ingress: {enabled: true}", "ingress.host must be given"},
	} {
		if _, err := renderChart(t, chartValues(t, "least", c.more), true); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: want %q, got %v", c.more, c.says, err)
		}
	}
}
