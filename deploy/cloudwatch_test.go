package deploy_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"testing"
)

// agent is what the CloudWatch agent's own schema (translator/config/schema.json) lets such a file say, of what is used here.
type agent struct {
	Logs struct {
		Collected struct {
			Prometheus struct {
				Config   string `json:"prometheus_config_path"`
				LogGroup string `json:"log_group_name"`
				ECS      struct {
					Frequency string `json:"sd_frequency"`
					Result    string `json:"sd_result_file"`
					Services  []struct {
						Job   string `json:"sd_job_name"`
						Name  string `json:"sd_service_name_pattern"`
						Ports string `json:"sd_metrics_ports"`
						Path  string `json:"sd_metrics_path"`
					} `json:"service_name_list_for_tasks"`
				} `json:"ecs_service_discovery"`
				EMF struct {
					Dedup        bool              `json:"metric_declaration_dedup"`
					Namespace    string            `json:"metric_namespace"`
					Units        map[string]string `json:"metric_unit"`
					Declarations []struct {
						Labels     []string   `json:"source_labels"`
						Matcher    string     `json:"label_matcher"`
						Dimensions [][]string `json:"dimensions"`
						Selectors  []string   `json:"metric_selectors"`
					} `json:"metric_declaration"`
				} `json:"emf_processor"`
			} `json:"prometheus"`
		} `json:"metrics_collected"`
	} `json:"logs"`
}

func TestCloudWatchIsPaidForWhatThereIs(t *testing.T) {
	t.Parallel()
	f, err := os.Open("cloudwatch-agent.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var a agent
	in := json.NewDecoder(f)
	in.DisallowUnknownFields()
	if err := in.Decode(&a); err != nil {
		t.Fatal(err)
	}
	var scrape struct {
		Global struct {
			Every   string `yaml:"scrape_interval"`
			Timeout string `yaml:"scrape_timeout"`
		} `yaml:"global"`
		Configs []struct {
			Job   string `yaml:"job_name"`
			Limit int    `yaml:"sample_limit"`
			Files []struct {
				Files []string `yaml:"files"`
			} `yaml:"file_sd_configs"`
			Relabel []struct {
				Target string `yaml:"target_label"`
				Value  string `yaml:"replacement"`
			} `yaml:"relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	readYAML(t, "cloudwatch-agent-scrape.yml", &scrape)
	p := a.Logs.Collected.Prometheus
	if len(scrape.Configs) != 1 || !slices.Equal(scrape.Configs[0].Files[0].Files, []string{p.ECS.Result}) {
		t.Errorf("the agent scrapes other targets than those that it finds, %s", p.ECS.Result)
	}
	var jobs []string
	for _, s := range p.ECS.Services {
		jobs = append(jobs, s.Job)
	}
	if r := scrape.Configs[0].Relabel; len(r) != 1 || r[0].Target != "env" || r[0].Value != "ENVIRONMENT" {
		t.Errorf("the environment is none of the targets' labels, or is somebody's already: %+v", r)
	}
	known, sent := readNames(t), map[string]bool{}
	for _, d := range p.EMF.Declarations {
		job := regexp.MustCompile(d.Matcher)
		if !slices.Equal(d.Labels, []string{"job"}) || !slices.ContainsFunc(jobs, job.MatchString) {
			t.Errorf("%v: %s is no job that is found", d.Selectors, d.Matcher)
		}
		for _, s := range d.Selectors {
			selects, some := regexp.MustCompile(s), false
			for name, labels := range known {
				if !selects.MatchString(name) {
					continue
				}
				some, sent[name] = true, true
				for _, set := range d.Dimensions {
					if !slices.Contains(set, "env") {
						t.Errorf("%s is sent without its environment: sandbox would stand for live", name)
					}
					for _, l := range set {
						if !slices.Contains(labels, l) && l != "job" && l != "env" {
							t.Errorf("%s has no label %s to be a dimension", name, l)
						}
					}
				}
			}
			if !some {
				t.Errorf("%s selects nothing", s)
			}
		}
	}
	// What a page looks at while nobody's counter moves: without one of these, the loss of all is silence.
	for _, name := range []string{"closeout_sweep_last_seconds", "closeout_workers", "closeout_due_visit_oldest_seconds"} {
		if !sent[name] {
			t.Errorf("%s is not sent", name)
		}
	}
	for name := range sent {
		if p.EMF.Units[name] == "" {
			t.Errorf("%s is sent without a unit", name)
		}
	}
	for name := range p.EMF.Units {
		if !sent[name] {
			t.Errorf("%s has a unit and is not sent", name)
		}
	}
	if testing.Short() {
		return
	}
	promtool(t, "check", "config", "--syntax-only", "cloudwatch-agent-scrape.yml")
}
