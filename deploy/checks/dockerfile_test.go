package checks

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// nobody is the image's user and group.
const nobody = "65532:65532"

// dockerfile is the Dockerfile as BuildKit reads it: its stages, the last of which is the image.
func dockerfile(t *testing.T) []instructions.Stage {
	t.Helper()
	file, err := parser.Parse(bytes.NewReader(read(t, "deploy/Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range file.Warnings {
		t.Errorf("BuildKit's parser warns: %s", w.Short)
	}
	stages, _, err := instructions.Parse(file.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

// all are a stage's instructions of a kind.
func all[T instructions.Command](s instructions.Stage) (found []T) {
	for _, c := range s.Commands {
		if c, ok := c.(T); ok {
			found = append(found, c)
		}
	}
	return found
}

// one is the image's one instruction of a kind.
func one[T instructions.Command](t *testing.T) T {
	t.Helper()
	stages := dockerfile(t)
	found := all[T](stages[len(stages)-1])
	if len(found) != 1 {
		t.Fatalf("the image has %d instructions of this kind, want one: %T", len(found), *new(T))
	}
	return found[0]
}

// anyImage stands for a registry, which is not asked: each base is an empty image.
type anyImage struct{}

func (anyImage) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config, err := json.Marshal(ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"}})
	return ref, digest.FromBytes(config), config, err
}

// linted is what BuildKit's linter says of a Dockerfile.
func linted(t *testing.T, text []byte) *lint.LintResults {
	t.Helper()
	from := llb.NewSourceMap(nil, "Dockerfile", "dockerfile", text)
	from.Definition = new(llb.Definition)
	found, err := dockerfile2llb.DockerfileLint(t.Context(), text, dockerfile2llb.ConvertOpt{SourceMap: from, MetaResolver: anyImage{}})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// BuildKit's linter has nothing to say, and what it makes of the file is a whole build.
func TestDockerfilePassesTheLinter(t *testing.T) {
	found := linted(t, read(t, "deploy/Dockerfile"))
	if found.Error != nil {
		t.Errorf("it can't be built: %s", found.Error.Message)
	}
	for _, w := range found.Warnings {
		t.Errorf("%s: %s", w.RuleName, w.Detail)
	}
}

// The linter is asked in a way in which it does find something.
func TestTheLinterFindsWhatIsWrong(t *testing.T) {
	var rules []string
	for _, w := range linted(t, []byte("FROM scratch as image\nENV CLOSEOUT_ALPACA_SECRET=x\nCMD closeout server\n")).Warnings {
		rules = append(rules, w.RuleName)
	}
	for _, rule := range []string{"FromAsCasing", "SecretsUsedInArgOrEnv", "JSONArgsRecommended"} {
		if !slices.Contains(rules, rule) {
			t.Errorf("the linter does not find %s: %q", rule, rules)
		}
	}
}

// The image holds the program and the certificate authorities: with no shell in it, nothing in it may ask for one. It runs as
// nobody, by a number, since Kubernetes's runAsNonRoot can't judge a name.
func TestTheImage(t *testing.T) {
	stages := dockerfile(t)
	if base := stages[len(stages)-1].BaseName; base != "scratch" {
		t.Errorf("the image is made from %q: what is in there is nobody's choice", base)
	}
	if user := one[*instructions.UserCommand](t).User; user != nobody {
		t.Errorf("it runs as %q", user)
	}
	if c := one[*instructions.EntrypointCommand](t); c.PrependShell || !slices.Equal(c.CmdLine, []string{"closeout"}) {
		t.Errorf("its entrypoint is %q, by a shell: %v", c.CmdLine, c.PrependShell)
	}
	if c := one[*instructions.HealthCheckCommand](t).Health; !slices.Equal(c.Test, []string{"CMD", "closeout", "readyz"}) || c.Timeout < readyAsk(t) {
		t.Errorf("its health check is %q with a timeout of %s", c.Test, c.Timeout)
	}
	if c := one[*instructions.StopSignalCommand](t); c.Signal != "SIGTERM" {
		t.Errorf("it is stopped by %s, and the program drains at SIGTERM", c.Signal)
	}
	if ports := one[*instructions.ExposeCommand](t).Ports; !slices.Equal(ports, []string{"8000", "8080"}) {
		t.Errorf("it exposes %q", ports)
	}
	if path := one[*instructions.EnvCommand](t).Env; len(path) != 1 || path[0].String() != "PATH=/usr/local/bin" {
		t.Errorf("its environment is %v; probes find the program by PATH", path)
	}
	var to []string
	for _, c := range all[*instructions.CopyCommand](stages[len(stages)-1]) {
		to = append(to, c.DestPath)
	}
	if want := []string{"/etc/ssl/certs/", "/usr/local/bin/", "/data"}; !slices.Equal(to, want) {
		t.Errorf("it holds %q, want %q and nothing else", to, want)
	}
}

// What the program is built by is named to the last digit, and is the Go that go.mod asks for, or newer.
func TestTheBuilderIsPinned(t *testing.T) {
	base := dockerfile(t)[0].BaseName
	if !pinned(base) {
		t.Errorf("%s may be another one tomorrow", base)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(base, "golang:"), "-")
	if want := goVersion(t); older(version, want) {
		t.Errorf("it is built by Go %s, and go.mod asks for %s", version, want)
	}
}
