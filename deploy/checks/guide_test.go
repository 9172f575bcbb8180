package checks

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the guide tells to give to CloudFormation is what the templates take, and all that they must have.
func TestTheGuideGivesWhatTemplatesTake(t *testing.T) {
	t.Parallel()
	guide := strings.ReplaceAll(string(read(t, "docs/deploy.md")), "\\\n", "")
	deploys := regexp.MustCompile(`(?m)^    aws cloudformation deploy .*--template-file deploy/ecs/(\w+)\.yaml(.*)--parameter-overrides (.*)$`).FindAllStringSubmatch(guide, -1)
	var told []string
	texts := ecsTexts(t)
	for _, m := range deploys {
		name, options, given := m[1], m[2], map[string]bool{}
		told = append(told, name)
		read, err := readTemplate(name, texts[name])
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range regexp.MustCompile(`(\w+)=`).FindAllStringSubmatch(m[3], -1) {
			given[word[1]] = true
		}
		takes := section(read.root, "Parameters")
		for _, p := range slices.Sorted(maps.Keys(takes)) {
			if _, has := takes[p].(map[string]any)["Default"]; !has && !given[p] {
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
	if !slices.Equal(told, ecsTemplates) {
		t.Errorf("the guide deploys %q, want %q", told, ecsTemplates)
	}
	for _, parameter := range regexp.MustCompile(`parameter/\$\{Base\}/(\w+)`).FindAllStringSubmatch(texts["watch"], -1) {
		if !strings.Contains(guide, "aws ssm put-parameter --name /closeout-sandbox/"+parameter[1]+" ") {
			t.Errorf("nobody puts the parameter %s", parameter[1])
		}
	}
	for _, key := range regexp.MustCompile(`\$\{Settings\}:(\w+)::`).FindAllStringSubmatch(texts["services"], -1) {
		if !strings.Contains(guide, key[1]) {
			t.Errorf("the guide does not say that %s belongs into the secret", key[1])
		}
	}
}
