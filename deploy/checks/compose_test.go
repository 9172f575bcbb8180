package checks

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// The profiles of compose.yaml, of which setup.sh takes one, and who of each is the service itself.
var profiles = map[string][]string{
	"broker":    {"migrate", "server", "worker"},
	"simulator": {"simulated-server", "simulated-worker-1", "simulated-worker-2", "simulator"},
}

// setUp is deploy/ as setup.sh leaves it for a profile, in a folder of the test's own.
func setUp(t *testing.T, profile string) string {
	t.Helper()
	deploy := freshDeploy(t)
	if status, said := runSetup(t, deploy, profile); status != 0 {
		t.Fatalf("setup.sh %s: %d\n%s", profile, status, said)
	}
	return deploy
}

// freshDeploy is deploy/ as a clone has it.
func freshDeploy(t *testing.T) string {
	t.Helper()
	deploy := filepath.Join(t.TempDir(), "deploy")
	if err := os.Mkdir(deploy, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"compose.yaml", "postgres.sql", "setup.sh"} {
		if err := os.WriteFile(filepath.Join(deploy, name), read(t, "deploy/"+name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return deploy
}

// runSetup runs setup.sh on a machine whose Docker has no containers, unless env names another.
func runSetup(t *testing.T, deploy, profile string, env ...string) (status int, said string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(deploy, "setup.sh"), profile)
	cmd.Env = append([]string{"PATH=" + fakePath(t, "docker", "true")}, env...)
	out, err := cmd.CombinedOutput()
	if e := new(exec.ExitError); err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// project is what compose makes of the file in that folder with the .env beside it; unknown keys are refused.
func project(t *testing.T, deploy string, more ...string) *types.Project {
	t.Helper()
	files := append([]string{filepath.Join(deploy, "compose.yaml")}, more...)
	o, err := cli.NewProjectOptions(files, cli.WithWorkingDirectory(deploy), cli.WithEnvFiles(), cli.WithDotEnv, cli.WithDefaultProfiles())
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// each is each profile's project, by its profile, the broker's also with the example of an override.
func each(t *testing.T) map[string]*types.Project {
	t.Helper()
	found := map[string]*types.Project{}
	for profile := range profiles {
		found[profile] = project(t, setUp(t, profile))
	}
	override, err := filepath.Abs(filepath.Join(root, "deploy/compose.override.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found["override"] = project(t, setUp(t, "broker"), override)
	return found
}

// kindOf is the program's command that a service runs, "" for another's.
func kindOf(s types.ServiceConfig) string {
	if s.Build == nil {
		return ""
	}
	return s.Command[0]
}

func TestComposeStartsAProfile(t *testing.T) {
	for profile, p := range each(t) {
		t.Run(profile, func(t *testing.T) {
			want := slices.Concat(profiles[strings.Replace(profile, "override", "broker", 1)], []string{"postgres", "redis"})
			slices.Sort(want)
			if got := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(got, want) {
				t.Errorf("it starts %q, want %q", got, want)
			}
			workers := 0
			for _, s := range p.Services {
				if kindOf(s) == "worker" {
					workers += s.GetScale()
				}
			}
			if workers != 2 {
				t.Errorf("it starts %d workers, want two", workers)
			}
			for _, name := range p.DisabledServiceNames() {
				if slices.Contains(want, name) {
					t.Errorf("%s is not started", name)
				}
			}
		})
	}
}

// Nothing in it can write, rise or be reached from outside, and none of its secrets stands in an environment.
func TestComposeIsLocked(t *testing.T) {
	for profile, p := range each(t) {
		t.Run(profile, func(t *testing.T) {
			for name, s := range p.Services {
				if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || s.Privileged || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
					t.Errorf("%s can write, has capabilities or can gain them", name)
				}
				if s.Build == nil && (s.User == "" || strings.HasPrefix(s.User, "0")) {
					t.Errorf("%s runs as %q", name, s.User)
				}
				if s.Build == nil && !pinned(s.Image) {
					t.Errorf("%s may be another image tomorrow: %s", name, s.Image)
				}
				for _, port := range s.Ports {
					if port.HostIP != "127.0.0.1" {
						t.Errorf("%s is reached from outside at %s:%s", name, port.HostIP, port.Published)
					}
				}
				// Compose copies such ones into a container when it is made, which a read-only root refuses.
				if len(s.Configs) > 0 {
					t.Errorf("%s has configs", name)
				}
				for _, secret := range s.Secrets {
					if p.Secrets[secret.Source].File == "" {
						t.Errorf("%s has the secret %s, which is no file", name, secret.Source)
					}
				}
			}
			if !p.Networks["data"].Internal {
				t.Error("the network of the stores leads outside")
			}
			for _, store := range []string{"redis", "postgres"} {
				if got := slices.Collect(maps.Keys(p.Services[store].Networks)); !slices.Equal(got, []string{"data"}) || len(p.Services[store].Ports) > 0 {
					t.Errorf("%s is reached by %q and has ports %v", store, got, p.Services[store].Ports)
				}
			}
		})
	}
}

// Each process is given settings that its command reads; a secret is a file that it is given too. The simulator's are no secrets.
func TestComposeGivesSettingsThatAreRead(t *testing.T) {
	for profile, p := range each(t) {
		t.Run(profile, func(t *testing.T) {
			for name, s := range p.Services {
				command := kindOf(s)
				if command == "" {
					continue
				}
				unknown, open := refused(t, command, slices.Collect(maps.Keys(s.Environment)))
				if strings.HasPrefix(name, "simulated-") {
					open = slices.DeleteFunc(open, func(n string) bool { return n == "CLOSEOUT_ALPACA_KEY" || n == "CLOSEOUT_ALPACA_SECRET" })
				}
				if len(unknown)+len(open) > 0 {
					t.Errorf("%s: closeout %s does not read %q; in the environment stand the secrets %q", name, command, unknown, open)
				}
				var mounted, named []string
				for _, secret := range s.Secrets {
					mounted = append(mounted, "/run/secrets/"+secret.Source)
				}
				for setting, value := range s.Environment {
					if strings.HasSuffix(setting, fileSuffix) {
						named = append(named, *value)
					}
				}
				slices.Sort(mounted)
				slices.Sort(named)
				if !slices.Equal(mounted, named) {
					t.Errorf("%s is given the files %q and told of %q", name, mounted, named)
				}
			}
		})
	}
}

// What stops has the time that it takes: Docker kills after the grace period.
func TestComposeGivesTimeToStop(t *testing.T) {
	const more = 5 * time.Second // for a busy machine
	for profile, p := range each(t) {
		t.Run(profile, func(t *testing.T) {
			for name, s := range p.Services {
				var takes time.Duration
				switch kindOf(s) {
				case "worker":
					takes = workerStops(t)
				case "server":
					takes = serverStops(t)
				default:
					continue
				}
				if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) < takes+more {
					t.Errorf("%s has %v to stop, and may take %s", name, s.StopGracePeriod, takes)
				}
			}
		})
	}
}

// Redis keeps what it is told and evicts nothing; both stores keep their data on volumes.
func TestComposeKeepsWhatItIsTold(t *testing.T) {
	for profile, p := range each(t) {
		t.Run(profile, func(t *testing.T) {
			command := p.Services["redis"].Command
			for setting, want := range map[string]string{"--appendonly": "yes", "--maxmemory-policy": "noeviction"} {
				if i := slices.Index(command, setting); i < 0 || command[i+1] != want {
					t.Errorf("redis is started by %q, want %s %s", command, setting, want)
				}
			}
			for store, at := range map[string]string{"redis": "/data", "postgres": "/var/lib/postgresql/data"} {
				if !slices.ContainsFunc(p.Services[store].Volumes, func(v types.ServiceVolumeConfig) bool {
					return v.Type == types.VolumeTypeVolume && v.Target == at && v.Source == store
				}) {
					t.Errorf("%s keeps nothing: %v", store, p.Services[store].Volumes)
				}
			}
		})
	}
}

// Each process that serves has a health check of its own: by the image's, or, where several share one network, by an address.
func TestComposeAsksEachProcess(t *testing.T) {
	for profile, p := range each(t) {
		t.Run(profile, func(t *testing.T) {
			asked := map[string]string{}
			for name, s := range p.Services {
				switch {
				case kindOf(s) == "migrate":
					if s.HealthCheck == nil || !s.HealthCheck.Disable {
						t.Errorf("%s is asked, and serves nothing", name)
					}
				case s.HealthCheck == nil && s.NetworkMode != "" && kindOf(s) != "server": // which is asked first
					t.Errorf("%s shares a network and is asked by the image's check, which another may answer", name)
				case s.HealthCheck != nil && kindOf(s) != "":
					test := s.HealthCheck.Test
					if !slices.Equal(test[:len(test)-1], []string{"CMD", "closeout", "readyz", "--url"}) {
						t.Errorf("%s is asked by %q", name, test)
					}
					if other := asked[test[len(test)-1]]; other != "" {
						t.Errorf("%s and %s are asked at one address", name, other)
					}
					asked[test[len(test)-1]] = name
				case s.HealthCheck == nil && s.Build == nil:
					t.Errorf("%s is not asked", name)
				}
			}
		})
	}
}

// A second setup.sh changes nothing, passwords above all, and others come into none of it.
func TestSetupKeepsWhatIsThere(t *testing.T) {
	deploy := setUp(t, "broker")
	before := contents(t, deploy)
	if status, said := runSetup(t, deploy, "broker", "COMPOSE_PROJECT_NAME=other"); status != 0 {
		t.Fatalf("%d\n%s", status, said)
	}
	if after := contents(t, deploy); !maps.Equal(before, after) {
		t.Error("the second run changed what the first had made")
	}
	// With another profile it is told that it stays what it is.
	if status, said := runSetup(t, deploy, "simulator"); status != 1 || !strings.Contains(said, "not for simulator") || !strings.Contains(said, "COMPOSE_PROFILES=broker") {
		t.Errorf("another profile: %d\n%s", status, said)
	}
	if after := contents(t, deploy); !maps.Equal(before, after) {
		t.Error("the run with another profile changed what the first had made")
	}
	info, err := os.Stat(filepath.Join(deploy, "secrets"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the secrets' folder is %v, %v", info.Mode(), err)
	}
	ignored := strings.Split(string(read(t, ".gitignore")), "\n")
	for _, name := range []string{"secrets/", ".env", "closeout.env", "compose.override.yaml"} {
		if !slices.Contains(ignored, "/deploy/"+name) {
			t.Errorf("git does not ignore deploy/%s", name)
		}
	}
}

// Two folders on one machine have names and ports of their own: by default what one folder wants, and told before anything is made.
func TestComposeKeepsFoldersApart(t *testing.T) {
	published := func(p *types.Project) (ports []string) {
		for _, s := range p.Services {
			for _, port := range s.Ports {
				ports = append(ports, port.Published)
			}
		}
		return ports
	}
	for profile, port := range map[string]string{"broker": "8000", "simulator": "8001"} {
		p := project(t, setUp(t, profile))
		if ports := published(p); p.Name != "closeout" || !slices.Equal(ports, []string{port}) {
			t.Errorf("%s is called %s, at ports %q", profile, p.Name, ports)
		}
	}
	first := "/srv/closeout/deploy"
	docker := "PATH=" + fakePath(t, "docker", `[[ "$*" == *"label=com.docker.compose.project=closeout "* ]] && echo `+first+` || true`)
	deploy := freshDeploy(t)
	status, said := runSetup(t, deploy, "broker", docker)
	if _, err := os.Stat(filepath.Join(deploy, ".env")); status != 1 || !strings.Contains(said, first) || err == nil {
		t.Errorf("beside another of that name: %d, .env: %v\n%s", status, err, said)
	}
	if status, said := runSetup(t, deploy, "broker", docker, "COMPOSE_PROJECT_NAME=closeout-live", "CLOSEOUT_PORT=8002"); status != 0 {
		t.Fatalf("%d\n%s", status, said)
	}
	if p := project(t, deploy); p.Name != "closeout-live" || !slices.Equal(published(p), []string{"8002"}) {
		t.Errorf("the second one is called %s, at ports %q", p.Name, published(p))
	}
}

// The number of workers stands in .env, so that the next up leaves it.
func TestComposeStartsAsManyWorkersAsEnvSays(t *testing.T) {
	deploy := setUp(t, "broker")
	path := filepath.Join(deploy, ".env")
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "CLOSEOUT_WORKERS=2\n") != 1 {
		t.Fatalf("%s, %v", text, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "CLOSEOUT_WORKERS=2", "CLOSEOUT_WORKERS=4", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := project(t, deploy).Services["worker"]; n.GetScale() != 4 {
		t.Errorf("it starts %d workers, want four", n.GetScale())
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var text []byte
			text, err = os.ReadFile(path)
			files[path] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A misspelt key is refused, and so is a service that needs one of another profile: the loader is as strict as compose.
func TestComposeRefusesWhatIsWrong(t *testing.T) {
	deploy := setUp(t, "broker")
	wrong := filepath.Join(deploy, "wrong.yaml")
	for _, text := range []string{"services: {server: {stop_grace_periode: 1s}}", "services: {server: {depends_on: [simulator]}}"} {
		if err := os.WriteFile(wrong, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := cli.NewProjectOptions([]string{filepath.Join(deploy, "compose.yaml"), wrong}, cli.WithWorkingDirectory(deploy), cli.WithEnvFiles(), cli.WithDotEnv, cli.WithDefaultProfiles())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.LoadProject(t.Context()); err == nil {
			t.Errorf("this is taken: %s", text)
		}
	}
}
