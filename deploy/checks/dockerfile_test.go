package checks

import (
	"bytes"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

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

// last is the image's one instruction of a kind.
func last[T instructions.Command](t *testing.T) T {
	t.Helper()
	stages := dockerfile(t)
	var found []T
	for _, c := range stages[len(stages)-1].Commands {
		if c, ok := c.(T); ok {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the image has %d instructions of this kind, want one: %T", len(found), *new(T))
	}
	return found[0]
}

// The image runs as nobody, by a number, since Kubernetes's runAsNonRoot can't judge a name.
func TestImageIsNobody(t *testing.T) {
	if user := last[*instructions.UserCommand](t).User; user != "65532:65532" {
		t.Errorf("the image runs as %q", user)
	}
}
