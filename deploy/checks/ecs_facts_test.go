package checks

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// rules are the ways out of groups, or into them, as PORT PEER.
func (e *ecs) rules(way, peer string, groups ...string) []string {
	var out []string
	add := func(r any) {
		at := fmt.Sprint(get(r, "FromPort"))
		if to := fmt.Sprint(get(r, "ToPort")); to != at {
			at += "-" + to
		}
		from := get(r, "CidrIp")
		if from == nil {
			from = get(r, peer)
		}
		if get(r, "IpProtocol") != "tcp" {
			at = fmt.Sprint(get(r, "IpProtocol"))
		}
		out = append(out, fmt.Sprint(at, " ", from))
	}
	for _, g := range groups {
		own := e.one(g).get("SecurityGroup" + way)
		if own == nil && way == "Egress" {
			out = append(out, "everything")
		}
		for _, r := range listed(own) {
			add(r)
		}
		for _, r := range e.all("AWS::EC2::SecurityGroup" + way) {
			if r.get("GroupId") == g {
				add(r.whole["Properties"])
			}
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(out, func(r string) bool { return r == "1 127.0.0.1/32" }) // which is nowhere
}

// Who may speak to whom is all that is promised and no more.
func ecsGroups(_ *testing.T, e *ecs, given map[string]map[string]any) {
	mail, database := "587 0.0.0.0/0", "5432 base/DatabaseGroup"
	if given["services"]["MailPort"] != nil {
		mail, database = "465 0.0.0.0/0", "6543 0.0.0.0/0"
	}
	groups := func(service string) []string {
		var out []string
		for _, g := range listed(e.one(service).get("NetworkConfiguration", "AwsvpcConfiguration", "SecurityGroups")) {
			out = append(out, fmt.Sprint(g))
		}
		return out
	}
	balancer := fmt.Sprint(get(e.one("services/Balancer").get("SecurityGroups"), 0))
	for _, c := range []struct {
		who, way string
		got      []string
		want     []string
	}{
		{"a worker", "out", e.rules("Egress", "DestinationSecurityGroupId", groups("services/Worker")...), []string{"443 0.0.0.0/0", database, mail, "6379 base/RedisGroup"}},
		{"a worker", "in", e.rules("Ingress", "SourceSecurityGroupId", groups("services/Worker")...), []string{"8080 watch/AgentGroup"}},
		{"a server", "out", e.rules("Egress", "DestinationSecurityGroupId", groups("services/Server")...), []string{"443 0.0.0.0/0", database, "6379 base/RedisGroup"}},
		{"a server", "in", e.rules("Ingress", "SourceSecurityGroupId", groups("services/Server")...), []string{"8000 services/BalancerGroup", "8000 watch/AgentGroup"}},
		{"the load balancer", "out", e.rules("Egress", "DestinationSecurityGroupId", balancer), []string{"8000 services/ServerGroup"}},
		{"the load balancer", "in", e.rules("Ingress", "SourceSecurityGroupId", balancer), []string{fmt.Sprint("443 ", given["services"]["Callers"])}},
		{"Redis", "out", e.rules("Egress", "DestinationSecurityGroupId", "base/RedisGroup"), nil},
		{"Redis", "in", e.rules("Ingress", "SourceSecurityGroupId", "base/RedisGroup"), []string{"6379 base/Tasks"}},
	} {
		slices.Sort(c.want)
		e.want(slices.Equal(c.got, c.want), "%s, %s: %q, want %q", c.who, c.way, c.got, c.want)
	}
	if e.one("base/Database").whole != nil {
		e.want(len(e.rules("Egress", "DestinationSecurityGroupId", "base/DatabaseGroup")) == 0, "Postgres may go out")
		in := e.rules("Ingress", "SourceSecurityGroupId", "base/DatabaseGroup")
		e.want(slices.Equal(in, []string{"5432 base/Tasks"}), "Postgres, in: %q", in)
	}
	for _, g := range e.all("AWS::EC2::SecurityGroup") { // the signs that EC2 takes
		e.want(regexp.MustCompile(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}$`).MatchString(fmt.Sprint(g.get("GroupDescription"))), "%s: EC2 does not take its description", g.at)
	}
}

// Outside there is TLS alone, and no metrics.
func ecsBalancer(_ *testing.T, e *ecs, _ map[string]map[string]any) {
	for _, l := range e.all("AWS::ElasticLoadBalancingV2::Listener") {
		e.want(l.get("Protocol") == "HTTPS" && strings.HasPrefix(fmt.Sprint(l.get("SslPolicy")), "ELBSecurityPolicy-TLS13-1-2") && get(l.get("Certificates"), 0, "CertificateArn") != nil, "%s: speaks no TLS of today", l.at)
	}
	inside := false
	for _, r := range e.all("AWS::ElasticLoadBalancingV2::ListenerRule") {
		inside = inside || r.get("ListenerArn") == "services/Https" && r.get("Priority") == 1.0 && len(listed(r.get("Conditions"))) == 1 &&
			fmt.Sprint(get(r.get("Conditions"), 0, "PathPatternConfig", "Values")) == "[/metrics]" && get(r.get("Actions"), 0, "Type") == "fixed-response"
	}
	e.want(inside, "the metrics can be read from outside")
	servers := e.one("services/Servers")
	every, _ := servers.get("HealthCheckIntervalSeconds").(float64)
	times, _ := servers.get("UnhealthyThresholdCount").(float64)
	e.want(servers.get("HealthCheckPath") == "/ready" && every*times >= 180, "a failover of Postgres has every server replaced")
	leaves := servers.get("TargetGroupAttributes", 0)
	e.want(get(leaves, "Key") == "deregistration_delay.timeout_seconds" && get(leaves, "Value") == "30", "the load balancer leaves a server after %v", leaves)
}

// sent says whether the CloudWatch agent sends a series so.
func ecsSent(t *testing.T, metric any, environment string) error {
	t.Helper()
	var agent struct {
		Logs struct {
			Collected struct {
				Prometheus struct {
					LogGroup string `json:"log_group_name"`
					EMF      struct {
						Namespace    string `json:"metric_namespace"`
						Declarations []struct {
							Matcher    string     `json:"label_matcher"`
							Dimensions [][]string `json:"dimensions"`
							Selectors  []string   `json:"metric_selectors"`
						} `json:"metric_declaration"`
					} `json:"emf_processor"`
				} `json:"prometheus"`
			} `json:"metrics_collected"`
		} `json:"logs"`
	}
	if err := json.Unmarshal(read(t, "deploy/cloudwatch-agent.json"), &agent); err != nil {
		t.Fatal(err)
	}
	p := agent.Logs.Collected.Prometheus
	name, dimensions := fmt.Sprint(get(metric, "MetricName")), map[string]string{}
	for _, d := range listed(get(metric, "Dimensions")) {
		dimensions[fmt.Sprint(get(d, "Name"))] = fmt.Sprint(get(d, "Value"))
	}
	switch {
	case p.LogGroup != "/closeout/ENVIRONMENT/metrics":
		return fmt.Errorf("the agent writes into %s, which is not the group that base.yaml makes", p.LogGroup)
	case !metricNames(t)[name]:
		return fmt.Errorf("%s is no series", name)
	case get(metric, "Namespace") != p.EMF.Namespace || dimensions["env"] != environment:
		return fmt.Errorf("%s: another namespace or environment than the agent's", name)
	}
	for _, d := range p.EMF.Declarations {
		named := slices.ContainsFunc(d.Selectors, func(s string) bool { return regexp.MustCompile(s).MatchString(name) })
		sent := slices.ContainsFunc(d.Dimensions, func(s []string) bool {
			return slices.Equal(slices.Sorted(slices.Values(s)), slices.Sorted(maps.Keys(dimensions)))
		})
		if job, ok := dimensions["job"]; named && sent && (!ok || regexp.MustCompile(d.Matcher).MatchString(job)) {
			return nil
		}
	}
	return fmt.Errorf("the agent sends no %s by %v", name, slices.Sorted(maps.Keys(dimensions)))
}

// The workers scale by what is due, and never to none.
func ecsScaling(t *testing.T, e *ecs, given map[string]map[string]any) {
	t.Helper()
	target := e.one("services/WorkerScaling")
	least, _ := target.get("MinCapacity").(float64)
	most, _ := target.get("MaxCapacity").(float64)
	e.want(least >= 2 && most >= least, "from %v to %v workers", least, most)
	e.want(target.get("ResourceId") == "service/base/Cluster/services/Worker.Name", "another service scales: %v", target.get("ResourceId"))
	p, _ := e.stacks["services"].root["Parameters"].(map[string]any)
	e.want(get(p, "MinWorkers", "MinValue") == 1.0, "there may be no worker")
	policy := e.one("services/WorkerBacklog").get("TargetTrackingScalingPolicyConfiguration")
	e.want(get(policy, "TargetValue").(float64) > 0 && get(policy, "DisableScaleIn") == nil, "the scaling has no target")
	metrics, returned := map[string]any{}, 0
	for _, m := range listed(get(policy, "CustomizedMetricSpecification", "Metrics")) {
		metrics[fmt.Sprint(get(m, "Id"))] = m
		if get(m, "ReturnData") != false {
			returned++
		}
	}
	e.want(returned == 1 && get(metrics["backlog"], "Expression") == "due / workers", "the scaling has %d series to follow, want the backlog per worker", returned)
	due := get(metrics["due"], "MetricStat")
	err := ecsSent(t, get(due, "Metric"), given["base"]["Environment"].(string))
	e.want(err == nil, "the scaling: %v", err)
	e.want(get(due, "Metric", "MetricName") == "closeout_due_visits" && get(due, "Stat") == "Maximum", "the scaling counts what sleeps, or each server's number")
	running := get(metrics["workers"], "MetricStat", "Metric")
	e.want(get(running, "Namespace") == "ECS/ContainerInsights" && get(e.one("base/Cluster").get("ClusterSettings"), 0, "Value") == "enabled", "nobody counts the workers")
}

// An alarm is one of the alerts that page, its series is sent, and silence is an alarm.
func ecsAlarms(t *testing.T, e *ecs, given map[string]map[string]any) {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert  string            `yaml:"alert"`
				Labels map[string]string `yaml:"labels"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(read(t, "deploy/alerts/closeout.rules.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	pages := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			pages[r.Alert] = r.Labels["severity"] == "page"
		}
	}
	alarms := e.all("AWS::CloudWatch::Alarm")
	e.want(len(alarms) >= 3, "there are %d alarms", len(alarms))
	for _, a := range alarms {
		name := strings.TrimPrefix(a.at, "watch/")
		e.want(pages[name], "%s is no alert that pages", name)
		e.want(strings.HasSuffix(fmt.Sprint(a.get("AlarmDescription")), " docs/RUNBOOK.md#"+strings.ToLower(name)), "%s: does not name its place in the runbook", name)
		e.want(a.get("TreatMissingData") == "breaching", "%s: is silent when the agent is", name)
		e.want((a.get("AlarmActions") != nil) == (given["watch"]["AlarmTopic"] != nil), "%s: pages nobody", name)
		metric := a.whole["Properties"]
		for _, m := range listed(a.get("Metrics")) {
			if s := get(m, "MetricStat", "Metric"); s != nil {
				metric = s
			}
		}
		err := ecsSent(t, metric, given["base"]["Environment"].(string))
		e.want(err == nil, "%s: %v", name, err)
	}
}

func ecsRedis(_ *testing.T, e *ecs, _ map[string]map[string]any) {
	r, p := e.one("base/Redis"), e.one("base/RedisParameters")
	nodes, _ := r.get("NumCacheClusters").(float64)
	e.want(get(p.get("Properties"), "maxmemory-policy") == "noeviction" && r.get("CacheParameterGroupName") == "base/RedisParameters", "Redis may drop tasks")
	e.want(r.get("TransitEncryptionEnabled") == true && r.get("AtRestEncryptionEnabled") == true && r.get("AuthToken") != nil, "Redis is not encrypted, or lets everybody in")
	e.want(nodes >= 2 && r.get("MultiAZEnabled") == true && r.get("AutomaticFailoverEnabled") == true, "Redis has nothing to fall back to")
	e.want(p.get("CacheParameterGroupFamily") == "redis"+fmt.Sprint(r.get("EngineVersion"))[:1], "Redis's parameters are another version's")
	e.want(strings.HasPrefix(fmt.Sprint(e.one("base/RedisUrl").get("SecretString")), "rediss://:"), "Redis would be spoken with in clear")
}

func ecsDatabase(t *testing.T, e *ecs, given map[string]map[string]any) {
	t.Helper()
	d := e.one("base/Database")
	e.want((d.whole == nil) == (given["base"]["DatabaseUrlSecret"] != nil), "there are two Postgres, or none")
	if d.whole == nil {
		return
	}
	p := e.one("base/DatabaseParameters")
	e.want(get(p.get("Parameters"), "rds.force_ssl") == "1" && get(p.get("Parameters"), "synchronous_commit") == "on" && d.get("DBParameterGroupName") == "base/DatabaseParameters", "Postgres takes clear connections, or loses commits")
	days, _ := d.get("BackupRetentionPeriod").(float64)
	e.want(d.get("MultiAZ") == true && days >= 14 && d.get("DeletionProtection") == true && d.whole["DeletionPolicy"] == "Snapshot" && d.whole["UpdateReplacePolicy"] == "Snapshot", "the ledger can be lost")
	e.want(d.get("StorageEncrypted") == true && d.get("PubliclyAccessible") == false, "the ledger is open")
	major, _, _ := strings.Cut(fmt.Sprint(d.get("EngineVersion")), ".")
	e.want(p.get("Family") == "postgres"+major && major >= "15", "Postgres %s with the parameters of %v", major, p.get("Family"))
	url := fmt.Sprint(e.one("base/DatabaseUrl").get("SecretString"))
	e.want(strings.HasSuffix(url, "/closeout?sslmode=verify-full&sslrootcert=/etc/ssl/rds.pem") && d.get("DBName") == "closeout", "Postgres's certificate is not looked at")
	e.want(strings.HasSuffix(strings.TrimSpace(string(read(t, "deploy/ecs/Dockerfile"))), " /etc/ssl/rds.pem"), "the image for ECS has the authorities elsewhere")
}

// Roles may do little, and say to what.
func ecsRoles(_ *testing.T, e *ecs, _ map[string]map[string]any) {
	everywhere := []string{"ecr:GetAuthorizationToken", "ecs:ListServices", "ecs:DescribeServices", "ecs:ListTasks", "ecs:DescribeTasks", "ecs:DescribeTaskDefinition"}
	for _, r := range e.all("AWS::IAM::Role") {
		e.want(r.get("ManagedPolicyArns") == nil, "%s: has a policy that is written elsewhere", r.at)
		for _, policy := range listed(r.get("Policies")) {
			for _, s := range listed(get(policy, "PolicyDocument", "Statement")) {
				for _, action := range listed(get(s, "Action")) {
					a := fmt.Sprint(action)
					e.want(!strings.Contains(a, "*"), "%s: may do %s", r.at, a)
					for _, to := range listed(get(s, "Resource")) {
						e.want(to != "*" || slices.Contains(everywhere, a), "%s: may do %s to everything", r.at, a)
					}
				}
			}
		}
	}
}
