package checks

import (
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
	deploy := filepath.Join(t.TempDir(), "deploy")
	if err := os.Mkdir(deploy, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"compose.yaml", "postgres.sql", "setup.sh"} {
		if err := os.WriteFile(filepath.Join(deploy, name), read(t, "deploy/"+name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(deploy, "setup.sh"), profile).CombinedOutput(); err != nil {
		t.Fatalf("setup.sh %s: %v\n%s", profile, err, out)
	}
	return deploy
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
	if out, err := exec.CommandContext(t.Context(), filepath.Join(deploy, "setup.sh"), "broker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if after := contents(t, deploy); !maps.Equal(before, after) {
		t.Error("the second run changed what the first had made")
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
