package checks

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// guideLines are the commands of the guide, each on one line, without what is said beside it.
func guideLines(t *testing.T, from, to string) []string {
	t.Helper()
	guide := strings.ReplaceAll(string(read(t, "docs/deploy.md")), "\\\n", "")
	_, guide, begins := strings.Cut(guide, from)
	guide, _, ends := strings.Cut(guide, to)
	if !begins || !ends {
		t.Fatalf("the guide has no %q and then %q", from, to)
	}
	var out []string
	for line := range strings.Lines(guide) {
		line, is := strings.CutPrefix(line, "    ")
		line, _, _ = strings.Cut(line, "  #")
		if line = strings.TrimSpace(line); is && line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// What it has people start is there: its scripts, and the services that it names to Compose.
func TestTheGuideStartsWhatThereIs(t *testing.T) {
	t.Parallel()
	lines, p := guideLines(t, "# Running Closeout", "## Coming from AWS Copilot"), project(t, setUp(t, "broker"))
	scripts, services := 0, 0
	for _, line := range lines {
		for _, m := range regexp.MustCompile(`deploy/[\w/]+\.sh`).FindAllString(line, -1) {
			info, err := os.Stat(filepath.Join(root, m))
			if err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s: %v, or nobody may run it", m, err)
			}
			scripts++
		}
		for _, m := range regexp.MustCompile(`docker compose (?:run|exec|stop|up -d) (?:--rm |-T |-[ev] \S+ )*((?:[a-z]+ ?)+)`).FindAllStringSubmatch(line, -1) {
			names := strings.Fields(m[1])
			if !strings.Contains(m[0], " stop ") {
				names = names[:1] // and then what is run there
			}
			for _, name := range names {
				if _, is := p.Services[name]; !is {
					t.Errorf("%s: compose.yaml has no service %s", line, name)
				}
				services++
			}
		}
		if strings.Contains(line, "deploy/ecs/service.sh") && !regexp.MustCompile(`service\.sh closeout-sandbox (stop|start) (worker|server)\b`).MatchString(line) {
			t.Errorf("service.sh does not take this: %s", line)
		}
	}
	if scripts < 15 || services < 10 {
		t.Errorf("it finds %d scripts and %d services alone in %d lines", scripts, services, len(lines))
	}
}

// After a restore no worker may start before the ledger is reconciled, on no platform.
func TestTheGuideRestoresInOrder(t *testing.T) {
	t.Parallel()
	lines := guideLines(t, "## Back up and restore", "## Taking over from the earlier system")
	for platform, steps := range map[string][]string{
		"Compose":    {"compose stop worker server", "pg_restore", "worker ledger verify", "up -d server", "worker ledger reconcile", "worker ledger reconcile --apply", "compose up -d", "monitor release"},
		"Kubernetes": {"paused-replicas=0", "scale deploy/closeout-worker deploy/closeout-server --replicas=0", "helm/once.sh closeout migrate", "helm/once.sh closeout ledger verify", "closeout-server --replicas=2", "helm/once.sh closeout ledger reconcile", "helm/once.sh closeout ledger reconcile --apply", "closeout-worker --replicas=2", "paused-replicas-", "helm/once.sh closeout monitor release"},
		"ECS":        {"stop worker", "restore-db-instance-to-point-in-time", "once.sh closeout-sandbox", "once.sh closeout-sandbox ledger verify", "start server", "once.sh closeout-sandbox ledger reconcile", "once.sh closeout-sandbox ledger reconcile --apply", "start worker", "once.sh closeout-sandbox monitor release"},
	} {
		at := 0
		for _, step := range steps {
			i := slices.IndexFunc(lines[at:], func(line string) bool {
				return strings.HasSuffix(line, step) || strings.Contains(line, step+" ") || strings.Contains(line, step) && !strings.Contains(step, " ")
			})
			if i < 0 {
				t.Errorf("%s: there is no %q after %q", platform, step, lines[max(at-1, 0)])
				break
			}
			at += i + 1
		}
	}
}

// The values of the guide are in order, and what they want of the Secret it puts there.
func TestTheGuidesValuesAreTaken(t *testing.T) {
	t.Parallel()
	var values map[string]any
	if err := yaml.Unmarshal([]byte(strings.Join(guideLines(t, "Then a `values.yaml`", "    helm upgrade --install"), "\n")), &values); err != nil {
		t.Fatal(err)
	}
	files, err := renderChart(t, values, false)
	if err != nil {
		t.Fatal(err)
	}
	guide := string(read(t, "docs/deploy.md"))
	for _, component := range []string{"server", "worker", "migrate"} {
		for _, e := range pods(t, manifests(files))[component].Containers[0].Env {
			if key, secret := strings.CutSuffix(e.Name, fileSuffix); secret && !strings.Contains(guide, " --from-file="+key+"=") {
				t.Errorf("%s is mounted, and the guide puts no %s into the Secret", component, key)
			}
		}
	}
}

// What the guide tells to give to CloudFormation is what the templates take, and all that they must have.
func TestTheGuideGivesWhatTemplatesTake(t *testing.T) {
	t.Parallel()
	guide := strings.ReplaceAll(string(read(t, "docs/deploy.md")), "\\\n", "")
	deploys := regexp.MustCompile(`(?m)^    aws cloudformation deploy .*--template-file deploy/ecs/(\w+)\.yaml(.*)--parameter-overrides (.*)$`).FindAllStringSubmatch(guide, -1)
	var told []string
	texts := ecsTexts(t)
	for _, m := range deploys {
		name, options, given := m[1], m[2], map[string]bool{}
		again := slices.Contains(told, name) // all that is not given stays then
		if !again {
			told = append(told, name)
		}
		read, err := readTemplate(name, texts[name])
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range regexp.MustCompile(`(\w+)=`).FindAllStringSubmatch(m[3], -1) {
			given[word[1]] = true
		}
		takes := section(read.root, "Parameters")
		for _, p := range slices.Sorted(maps.Keys(takes)) {
			if _, has := takes[p].(map[string]any)["Default"]; !has && !given[p] && !again {
				t.Errorf("%s.yaml must be given %s", name, p)
			}
			delete(given, p)
		}
		for p := range given {
			t.Errorf("%s.yaml takes no %s", name, p)
		}
		if roles := strings.Contains(texts[name], "AWS::IAM::Role"); roles != strings.Contains(options, "--capabilities CAPABILITY_IAM") {
			t.Errorf("%s.yaml makes roles: %v, and its command says otherwise", name, roles)
		}
	}
	// And what guide and runbook name beside that.
	all := map[string]any{}
	for name, text := range texts {
		read, err := readTemplate(name, text)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(all, section(read.root, "Parameters"))
	}
	for _, m := range regexp.MustCompile(`\b([A-Z][a-z]+(?:[A-Z][a-z]+)*)=`).FindAllStringSubmatch(guide+string(read(t, "docs/RUNBOOK.md")), -1) {
		if all[m[1]] == nil {
			t.Errorf("no template takes %s", m[1])
		}
	}
	if !slices.Equal(told, ecsTemplates) {
		t.Errorf("the guide deploys %q, want %q", told, ecsTemplates)
	}
	for _, parameter := range regexp.MustCompile(`parameter/\$\{Base\}/(\w+)`).FindAllStringSubmatch(texts["watch"], -1) {
		if !strings.Contains(guide, "aws ssm put-parameter --overwrite --name /closeout-sandbox/"+parameter[1]+" ") {
			t.Errorf("nobody puts the parameter %s", parameter[1])
		}
	}
	for _, key := range regexp.MustCompile(`\$\{Settings\}:(\w+)::`).FindAllStringSubmatch(texts["services"], -1) {
		if !strings.Contains(guide, key[1]) {
			t.Errorf("the guide does not say that %s belongs into the secret", key[1])
		}
	}
}
