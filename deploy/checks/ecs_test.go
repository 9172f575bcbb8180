package checks

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// ecsTemplates are made in this order: each may ask for what those before it export.
var ecsTemplates = []string{"base", "once", "services", "watch"}

const (
	ecsImage    = "123456789012.dkr.ecr.us-east-1.amazonaws.com/closeout:1.2.3"
	ecsSettings = "arn:aws:secretsmanager:us-east-1:123456789012:secret:closeout-AbCdEf"
	ecsStatus   = "table=user_onboarding key=alpaca_account_id column=status"
	ecsEarlier  = "arn:aws:secretsmanager:us-east-1:123456789012:secret:earlier-AbCdEf"
)

// ecsWays are two ways to give the parameters: as little as will do, and everything.
var ecsWays = map[string]map[string]map[string]any{
	"little": {
		"base":     {"Environment": "sandbox", "VpcId": "vpc-1", "PrivateSubnets": "private-a,private-b"},
		"once":     {"Base": "closeout-sandbox", "Image": ecsImage, "Settings": ecsSettings},
		"services": {"Base": "closeout-sandbox", "Image": ecsImage, "Settings": ecsSettings, "PublicUrl": "https://closeout.firm.example", "Certificate": "arn:aws:acm:us-east-1:123456789012:certificate/1", "PublicSubnets": "public-a,public-b", "Callers": "203.0.113.0/24"},
		"watch":    {"Base": "closeout-sandbox"},
	},
	"everything": {
		"base":     {"Environment": "live", "VpcId": "vpc-1", "PrivateSubnets": "private-a,private-b", "DatabaseUrlSecret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:supabase-AbCdEf", "DatabasePort": 6543},
		"once":     {"Base": "closeout-sandbox", "Image": ecsImage, "Settings": ecsSettings, "CallsPerMinute": 1000, "AccountStatus": ecsStatus, "AchDailyLimit": 25000, "UnknownTransfer": "ask", "ReturnWatch": 3, "LiquidationPoll": "45s", "LiquidationLimit": "20m", "SettlementPoll": "2h", "SettlementLimit": "4", "WithdrawalPoll": "3h", "WithdrawalLimit": "6", "ClosingPoll": "2m", "ClosingLimit": "2h", "LogLevel": "debug", "EarlierRedis": ecsEarlier, "EarlierRedisPort": 6380},
		"services": {"Base": "closeout-sandbox", "Image": ecsImage, "Settings": ecsSettings, "PublicUrl": "https://closeout.firm.example", "Certificate": "arn:aws:acm:us-east-1:123456789012:certificate/1", "PublicSubnets": "public-a,public-b", "Callers": "0.0.0.0/0", "MailFrom": "Firm <noreply@firm.example>", "MailPort": 465, "OidcIssuer": "https://id.firm.example", "OidcClientId": "closeout", "OidcOperators": "ops", "OidcClaim": "roles", "AccountStatus": ecsStatus, "AchDailyLimit": 25000, "UnknownTransfer": "ask", "ReturnWatch": 3, "LiquidationPoll": "45s", "LiquidationLimit": "20m", "SettlementPoll": "2h", "SettlementLimit": "4", "WithdrawalPoll": "3h", "WithdrawalLimit": "6", "ClosingPoll": "2m", "ClosingLimit": "2h", "LogLevel": "debug", "ApiRate": 100, "Concurrency": 10, "Events": "on", "RelaxedLooks": "true"},
		"watch":    {"Base": "closeout-sandbox", "AlarmTopic": "arn:aws:sns:us-east-1:123456789012:page"},
	},
}

// ecs is all four stacks, worked out.
type ecs struct {
	stacks map[string]*stack
	faults []string
}

func (e *ecs) want(ok bool, format string, args ...any) {
	if !ok {
		e.faults = append(e.faults, fmt.Sprintf(format, args...))
	}
}

// resource is one of a type, with where it stands, such as services/Worker.
type resource struct {
	at    string
	whole map[string]any
}

// get walks down a resource's properties: by a name, or by a number in a list.
func (r resource) get(path ...any) any { return get(r.whole["Properties"], path...) }

func get(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

func (e *ecs) all(kind string) []resource {
	var out []resource
	for _, name := range ecsTemplates {
		for _, id := range slices.Sorted(maps.Keys(e.stacks[name].resources)) {
			if r := e.stacks[name].resources[id]; r["Type"] == kind {
				out = append(out, resource{name + "/" + id, r})
			}
		}
	}
	return out
}

func (e *ecs) one(at string) resource {
	name, id, _ := strings.Cut(at, "/")
	return resource{at, e.stacks[name].resources[id]}
}

func ecsTexts(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, name := range ecsTemplates {
		texts[name] = string(read(t, "deploy/ecs/"+name+".yaml"))
	}
	return texts
}

// ecsWorked are all stacks with values for their parameters.
func ecsWorked(templates map[string]*template, given map[string]map[string]any) *ecs {
	e, exports := &ecs{stacks: map[string]*stack{}}, map[string]any{}
	for _, name := range ecsTemplates {
		e.stacks[name] = templates[name].work(given[name], exports)
		e.faults = append(e.faults, e.stacks[name].faults...)
	}
	return e
}

// ecsFaults is everything that is wrong with the templates, given in each way.
func ecsFaults(t *testing.T, texts map[string]string) []string {
	t.Helper()
	templates := map[string]*template{}
	for name, text := range texts {
		var err error
		if templates[name], err = readTemplate(name, text); err != nil {
			return []string{err.Error()}
		}
	}
	var faults []string
	for way, given := range ecsWays {
		e := ecsWorked(templates, given)
		for _, check := range []func(*testing.T, *ecs, map[string]map[string]any){
			ecsTasks, ecsSettingsExist, ecsServices, ecsGroups, ecsBalancer, ecsScaling, ecsAlarms, ecsRedis, ecsDatabase, ecsRoles,
		} {
			check(t, e, given)
		}
		for _, f := range e.faults {
			faults = append(faults, way+": "+f)
		}
	}
	for _, t := range templates {
		faults = append(faults, t.unused()...)
	}
	return append(faults, ecsShared(templates["services"], templates["once"])...)
}

// ecsShared are the parameters of two stacks that are given the same, and that take it differently.
func ecsShared(a, b *template) []string {
	var faults []string
	for name, p := range section(a.root, "Parameters") {
		p, q := maps.Clone(p.(map[string]any)), maps.Clone(section(section(b.root, "Parameters"), name))
		delete(p, "Description")
		delete(q, "Description")
		if q != nil && !reflect.DeepEqual(p, q) {
			faults = append(faults, fmt.Sprintf("%s: %s takes %v and %s %v", name, a.name, p, b.name, q))
		}
	}
	return faults
}

func TestECS(t *testing.T) {
	t.Parallel()
	for _, f := range ecsFaults(t, ecsTexts(t)) {
		t.Error(f)
	}
}

// A parameter has the name of its setting, as the runbook says.
func TestECSParametersAreNamedAsSettings(t *testing.T) {
	t.Parallel()
	n := 0
	for name, text := range ecsTexts(t) {
		for _, m := range regexp.MustCompile(`\{Name: (CLOSEOUT_\w+), Value: !(?:Ref |Sub "\$\{)(\w+)`).FindAllStringSubmatch(text, -1) {
			setting := "CLOSEOUT" + strings.ToUpper(regexp.MustCompile(`[A-Z]`).ReplaceAllString(m[2], "_$0"))
			if n++; setting != strings.Replace(m[1], "_ALPACA", "", 1) {
				t.Errorf("%s.yaml: %s is given by %s", name, m[1], m[2])
			}
		}
	}
	if n < 40 {
		t.Errorf("it finds %d parameters alone", n)
	}
}

// The image for ECS is Closeout's own and one more file, which everybody may read and nobody write.
func TestTheImageForECS(t *testing.T) {
	t.Parallel()
	text := read(t, "deploy/ecs/Dockerfile")
	found := linted(t, text)
	if found.Error != nil {
		t.Errorf("it can't be built: %s", found.Error.Message)
	}
	for _, w := range found.Warnings {
		t.Errorf("%s: %s", w.RuleName, w.Detail)
	}
	if !strings.HasSuffix(string(text), "\nFROM ${IMAGE}\nADD --chmod=0444 https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem /etc/ssl/rds.pem\n") {
		t.Error("it adds something else than the authorities of RDS")
	}
}

// containers are those that run Closeout.
func (e *ecs) containers() []resource {
	var out []resource
	for _, task := range e.all("AWS::ECS::TaskDefinition") {
		if task.at != "watch/AgentTask" {
			out = append(out, resource{task.at, map[string]any{"Properties": get(task.get("ContainerDefinitions"), 0)}})
		}
	}
	return out
}

// A task runs as nobody on a disk that it can't write, and is given the time that it needs to stop.
func ecsTasks(t *testing.T, e *ecs, _ map[string]map[string]any) {
	t.Helper()
	for _, task := range e.all("AWS::ECS::TaskDefinition") {
		e.want(task.get("NetworkMode") == "awsvpc" && len(listed(task.get("ContainerDefinitions"))) == 1, "%s: more than one container", task.at)
		e.want(task.at == "watch/AgentTask" || task.get("TaskRoleArn") == nil, "%s: the program has a role", task.at)
	}
	for _, c := range e.containers() {
		e.want(c.get("Image") == ecsImage, "%s: runs the image %v, not the parameter's", c.at, c.get("Image"))
		e.want(c.get("User") == nobody, "%s: runs as %v", c.at, c.get("User"))
		e.want(c.get("ReadonlyRootFilesystem") == true, "%s: its root can be written", c.at)
		e.want(get(c.get("LinuxParameters"), "Capabilities", "Drop", 0) == "ALL", "%s: keeps capabilities", c.at)
		e.want(get(c.get("LogConfiguration"), "Options", "awslogs-group") == "base/Logs", "%s: logs elsewhere", c.at)
		command, _ := get(c.get("Command"), 0).(string)
		e.want(regexp.MustCompile(`(?m)^  `+command+` `).Match(read(t, "cmd/closeout/testdata/script/help.txtar")) && command != "", "%s: closeout has no command %q", c.at, command)
		if c.at == "once/Once" {
			continue
		}
		stops := map[string]time.Duration{"server": serverStops(t), "worker": workerStops(t)}[command]
		grace, _ := c.get("StopTimeout").(float64)
		e.want(grace > stops.Seconds()+5 && grace <= 120, "%s: is given %v s to stop; it needs %s, and Fargate gives 120", c.at, grace, stops)
		port := map[string]float64{"server": 8000, "worker": 8080}[command]
		e.want(get(c.get("PortMappings"), 0, "ContainerPort") == port, "%s: listens elsewhere", c.at)
		probe := fmt.Sprint(get(c.get("HealthCheck"), "Command"))
		e.want(probe == fmt.Sprintf("[CMD closeout readyz --url http://127.0.0.1:%.0f/health]", port), "%s: is asked %s", c.at, probe)
		every, _ := get(c.get("HealthCheck"), "Interval").(float64)
		times, _ := get(c.get("HealthCheck"), "Retries").(float64)
		e.want(command != "worker" || every*times >= 600, "%s: an outage of Redis has every worker stopped", c.at)
		patience, _ := get(c.get("HealthCheck"), "Timeout").(float64)
		e.want(patience > readyAsk(t).Seconds(), "%s: the probe is cut off after %v s", c.at, patience)
	}
}

// Every variable is a setting of the program, and secret ones come as secrets.
func ecsSettingsExist(t *testing.T, e *ecs, all map[string]map[string]any) {
	t.Helper()
	for _, c := range e.containers() {
		secret, defaults := map[string]bool{}, map[string]string{}
		reads := []string{"worker"}
		switch {
		case c.at == "once/Once": // any other command goes in by an override
			reads = []string{"ledgerReconcile", "importLegacy"}
		case get(c.get("Command"), 0) == "server":
			reads = []string{"server"}
		}
		for _, command := range reads {
			maps.Copy(secret, settings(t, command))
			for name, tag := range tags(t, command) {
				defaults[name] = tag.Get("default")
			}
		}
		var clear []string
		for _, v := range listed(c.get("Environment")) {
			name := fmt.Sprint(get(v, "Name"))
			is, known := secret[name]
			e.want(known, "%s: closeout %s has no setting %s", c.at, reads[0], name)
			e.want(!is, "%s: %s is a secret and stands in clear", c.at, name)
			clear = append(clear, name)
			value := fmt.Sprint(get(v, "Value"))
			said := all["services"]["AchDailyLimit"] != nil || name == "CLOSEOUT_LOG_FORMAT"
			e.want(said || defaults[name] == "" || value == defaults[name], "%s: %s is %q where nobody says so, and the program's own is %q", c.at, name, value, defaults[name])
		}
		// Whatever can be set can be set here. A fast clock is for a simulator, and to the stores here nobody speaks in clear.
		for name, is := range secret {
			e.want(is || slices.Contains(clear, name) || name == "CLOSEOUT_DAY" || name == "CLOSEOUT_PLAINTEXT", "%s: has no %s", c.at, name)
		}
		var given []string
		for _, v := range listed(c.get("Secrets")) {
			name := fmt.Sprint(get(v, "Name"))
			is, known := secret[name]
			e.want(known, "%s: closeout %s has no setting %s", c.at, reads[0], name)
			e.want(is, "%s: %s is no secret", c.at, name)
			from := fmt.Sprint(get(v, "ValueFrom"))
			e.want(!strings.HasPrefix(from, ecsSettings) || from == ecsSettings+":"+name+"::", "%s: %s comes from %s", c.at, name, from)
			given = append(given, name)
		}
		for _, name := range []string{"CLOSEOUT_DATABASE_URL", "CLOSEOUT_REDIS_URL", "CLOSEOUT_ALPACA_KEY", "CLOSEOUT_ALPACA_SECRET"} {
			e.want(slices.Contains(given, name), "%s: has no %s", c.at, name)
		}
		imports := c.at == "once/Once" && all["once"]["EarlierRedis"] != nil
		e.want(slices.Contains(given, "CLOSEOUT_LEGACY_REDIS_URL") == imports, "%s: knows the earlier system's Redis, or the import does not", c.at)
	}
	// What is generated stands in no template, and what is made of it is put together by CloudFormation.
	for _, r := range e.all("AWS::SecretsManager::Secret") {
		text, _ := r.get("SecretString").(string)
		e.want(text == "" && r.get("GenerateSecretString") != nil || strings.Contains(text, ":{{resolve:secretsmanager:base/"), "%s: its value stands in the template", r.at)
	}
	for _, password := range []any{e.one("base/Redis").get("AuthToken"), e.one("base/Database").get("MasterUserPassword")} {
		e.want(password == nil || strings.HasPrefix(password.(string), "{{resolve:secretsmanager:base/"), "a password stands in the template")
	}
}

// Services stand in private subnets, roll without a gap and back by themselves.
func ecsServices(_ *testing.T, e *ecs, given map[string]map[string]any) {
	names := []string{}
	for _, s := range e.all("AWS::ECS::Service") {
		names = append(names, fmt.Sprint(s.get("ServiceName")))
		e.want(s.get("LaunchType") == "FARGATE" && s.get("PlatformVersion") == "1.4.0", "%s: is not on Fargate 1.4.0", s.at)
		e.want(get(s.get("NetworkConfiguration"), "AwsvpcConfiguration", "AssignPublicIp") == "DISABLED", "%s: has a public address", s.at)
		e.want(fmt.Sprint(get(s.get("NetworkConfiguration"), "AwsvpcConfiguration", "Subnets")) == "[private-a private-b]", "%s: stands in other subnets than the private ones", s.at)
		if s.at == "watch/Agent" {
			continue
		}
		d := s.get("DeploymentConfiguration")
		e.want(get(d, "MinimumHealthyPercent") == 100.0 && get(d, "DeploymentCircuitBreaker", "Enable") == true && get(d, "DeploymentCircuitBreaker", "Rollback") == true, "%s: a rollout may leave a gap, or fail and stay", s.at)
	}
	e.want(fmt.Sprint(names) == "[closeout-server closeout-worker closeout-agent]", "the services are %v", names)
	e.want(e.one("services/Worker").get("LoadBalancers") == nil, "the worker is behind a load balancer")
	e.want(e.one("services/Worker").get("DesiredCount") == nil, "each update would set the number of workers back")
	servers, _ := e.one("services/Server").get("DesiredCount").(float64)
	e.want(servers >= 2, "there is one server")
	run, groups := fmt.Sprint(e.stacks["once"].outputs["Run"]), "base/Tasks"
	if given["once"]["EarlierRedis"] != nil {
		groups += ",once/EarlierRedisGroup"
		out := e.rules("Egress", "DestinationSecurityGroupId", "once/EarlierRedisGroup")
		e.want(slices.Equal(out, []string{"6380 0.0.0.0/0"}), "the import, out: %q", out)
	}
	e.want(strings.HasSuffix(run, "--cluster base/Cluster --task-definition once/Once --launch-type FARGATE --network-configuration 'awsvpcConfiguration={subnets=[private-a,private-b],securityGroups=["+groups+"],assignPublicIp=DISABLED}'"), "the task that runs once is started by %s", run)
}
