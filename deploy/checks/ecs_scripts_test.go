package checks

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// awsCalls runs a script of deploy/ecs with an aws that answers by this shell.
func awsCalls(t *testing.T, answers, script string, args ...string) (calls [][]string, status int, said string) {
	t.Helper()
	return scriptCalls(t, map[string]string{"aws": answers}, "deploy/ecs/"+script, args...)
}

// after is the word after an option, in a call that begins so.
func after(calls [][]string, begins, option string) string {
	for _, c := range calls {
		if i := slices.Index(c, option); strings.HasPrefix(strings.Join(c, " "), begins) && i >= 0 && i+1 < len(c) {
			return c[i+1]
		}
	}
	return ""
}

// awsOnce answers as AWS does of a task that ends with 3.
const awsOnce = `case "$*" in
*"--stack-name closeout-sandbox-once "*Run*) echo "aws ecs run-task --cluster closeout-sandbox --network-configuration 'awsvpcConfiguration={subnets=[a,b]}'" ;;
*"--stack-name closeout-sandbox "*Cluster*) echo closeout-sandbox ;;
*"--stack-name closeout-sandbox "*Logs*) echo /closeout/sandbox ;;
"ecs run-task "*) printf 'arn:aws:ecs:us-east-1:123456789012:task/closeout-sandbox/0abc\tNone\n' ;;
"ecs wait tasks-stopped "*) [[ -e $CALLS.waited ]] || { touch "$CALLS.waited"; exit 255; } ;;
*lastStatus*) echo RUNNING ;;
*exitCode*) printf '3\tEssential container in task exited\n' ;;
"logs tail "*) echo what it said ;;
*) exit 254 ;;
esac`

// once.sh carries out a command word by word, waits longer than the waiter does, and ends as the command did.
func TestECSOnce(t *testing.T) {
	t.Parallel()
	words := []string{"ledger", "reconcile", "--apply", "--reason", `restored to "14:05", disk of db\1`}
	calls, status, said := awsCalls(t, awsOnce, "once.sh", append([]string{"closeout-sandbox"}, words...)...)
	if status != 3 || !strings.Contains(said, "what it said") {
		t.Errorf("it ends with %d: %s", status, said)
	}
	type variable struct{ Name, Value string }
	var given struct {
		ContainerOverrides []struct {
			Name        string
			Environment []variable
			Command     []string
		}
	}
	run := "aws ecs run-task --cluster closeout-sandbox --network-configuration awsvpcConfiguration={subnets=[a,b]} --overrides "
	if err := json.Unmarshal([]byte(after(calls, run, "--overrides")), &given); err != nil || len(given.ContainerOverrides) != 1 {
		t.Fatalf("%v in %q", err, calls)
	}
	o := given.ContainerOverrides[0]
	if o.Name != "closeout" || !slices.Equal(o.Command, words) || !slices.Equal(o.Environment, []variable{{"USER", "anna"}}) {
		t.Errorf("it runs %+v", o)
	}
	waited := 0
	for _, c := range calls {
		if c[1] == "ecs" && c[2] == "wait" {
			waited++
		}
	}
	if stream := after(calls, "aws logs tail /closeout/sandbox ", "--log-stream-names"); waited != 2 || stream != "once/closeout/0abc" {
		t.Errorf("it waited %d times and reads %q", waited, stream)
	}

	given.ContainerOverrides[0].Command = nil
	calls, _, _ = awsCalls(t, awsOnce, "once.sh", "closeout-sandbox")
	if err := json.Unmarshal([]byte(after(calls, run, "--overrides")), &given); err != nil || len(given.ContainerOverrides[0].Command) != 0 {
		t.Errorf("without a command it runs %+v, %v", given, err)
	}
	for name, c := range map[string]struct{ old, wrong, says string }{
		"no task":     {`printf 'arn:aws:ecs:us-east-1:123456789012:task/closeout-sandbox/0abc\tNone\n'`, `printf 'None\tRESOURCE:MEMORY\n'`, "ECS started no task: RESOURCE:MEMORY"},
		"no image":    {`printf '3\t`, `printf 'None\t`, "It did not run: Essential container"},
		"no right":    {`*lastStatus*) echo RUNNING`, `*lastStatus*) echo AccessDenied; exit 254`, ""},
		"no stack":    {`*"--stack-name closeout-sandbox-once "*Run*)`, `*"--stack-name closeout-live-once "*Run*)`, ""},
		"not started": {`"ecs run-task "*) printf`, `"ecs run-task "*) exit 254; printf`, ""},
	} {
		broken := strings.Replace(awsOnce, c.old, c.wrong, 1)
		if broken == awsOnce {
			t.Fatalf("%s: nothing to break", name)
		}
		if _, status, said := awsCalls(t, broken, "once.sh", "closeout-sandbox"); status == 0 || status == 3 || !strings.Contains(said, c.says) {
			t.Errorf("%s: it ends with %d: %s", name, status, said)
		}
	}
	for _, args := range [][]string{nil, {"--help"}} {
		if calls, status, said := awsCalls(t, awsOnce, "once.sh", args...); status != 2 || len(calls) > 0 || !strings.Contains(said, "usage") {
			t.Errorf("%q: %d, %q: %s", args, status, calls, said)
		}
	}
}

// service.sh takes the workers away from what scales them too, and gives back as many as the stack's parameters say.
func TestECSService(t *testing.T) {
	t.Parallel()
	const answers = `case "$*" in
*"--stack-name closeout-live "*Cluster*) echo closeout-live ;;
*"--stack-name closeout-live-services "*MinWorkers*) echo 3 ;;
*"--stack-name closeout-live-services "*MaxWorkers*) echo 5 ;;
*"--stack-name closeout-live-services "*"=='ServerCount'"*) echo 4 ;;
"application-autoscaling "* | "ecs update-service "* | "ecs wait services-stable "*) ;;
*) exit 254 ;;
esac`
	for what, c := range map[string]struct{ least, most, desired string }{
		"stop worker": {"0", "0", "0"}, "start worker": {"3", "5", "3"}, "stop server": {"", "", "0"}, "start server": {"", "", "4"},
	} {
		do, name, _ := strings.Cut(what, " ")
		calls, status, said := awsCalls(t, answers, "service.sh", "closeout-live", do, name)
		least, most := after(calls, "aws application-autoscaling register-scalable-target ", "--min-capacity"), after(calls, "aws application-autoscaling register-scalable-target ", "--max-capacity")
		desired := after(calls, "aws ecs update-service --cluster closeout-live --service closeout-"+name+" ", "--desired-count")
		if status != 0 || least != c.least || most != c.most || desired != c.desired {
			t.Errorf("%s: %d, from %q to %q, %q wanted: %s", what, status, least, most, desired, said)
		}
		if id := after(calls, "aws application-autoscaling ", "--resource-id"); name == "worker" && id != "service/closeout-live/closeout-worker" {
			t.Errorf("%s: it scales %s", what, id)
		}
		if last := strings.Join(calls[len(calls)-1], " "); last != "aws ecs wait services-stable --cluster closeout-live --services closeout-"+name {
			t.Errorf("%s: it ends with %s", what, last)
		}
	}
	for _, name := range []string{"MinWorkers", "MaxWorkers", "ServerCount"} { // what it asks for is there
		find(t, "deploy/ecs/services.yaml", `(?m)^  (`+name+`):$`)
	}
	for _, args := range [][]string{nil, {"closeout-live", "stop"}, {"closeout-live", "halt", "worker"}, {"closeout-live", "stop", "workers"}} {
		if calls, status, said := awsCalls(t, answers, "service.sh", args...); status != 2 || len(calls) > 0 || !strings.Contains(said, "usage") {
			t.Errorf("%q: %d, %q: %s", args, status, calls, said)
		}
	}
}
