package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const guide = "../docs/deploy.md"

// commandsSource is the text of cmd/closeout, whose tags name each setting and command.
func commandsSource(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("../cmd/closeout/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no commands: %v", err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// anchorsOf are the places in a text that a link can lead to.
func anchorsOf(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			out[anchorOf(title)] = true
		}
	}
	return out
}

var (
	aLink     = regexp.MustCompile(`\]\(([^)]*)\)`)
	aCommand  = regexp.MustCompile("(?:`closeout |exec server closeout |once\\.sh [a-z-]+ |-e \\S+ worker )([a-z]+)(?: ([a-z]+))?")
	aBuiltOne = regexp.MustCompile("(\\w+)Cmd +`cmd:\"\"")
	aSetting  = regexp.MustCompile(`CLOSEOUT_[A-Z_]+`)
	aSeries   = regexp.MustCompile("`(closeout_[a-z_]+)`")
)

// namesAreThere holds what a page for operators names to what there is: places it links to, commands, settings, series.
func namesAreThere(t *testing.T, path, text string) {
	t.Helper()
	for _, m := range aLink.FindAllStringSubmatch(text, -1) {
		to, anchor, _ := strings.Cut(m[1], "#")
		file := path
		if to != "" {
			file = filepath.Join(filepath.Dir(path), to)
		}
		if _, err := os.Stat(file); err != nil || anchor != "" && !anchorsOf(t, file)[anchor] {
			t.Errorf("it links to %s, which is not there", m[1])
		}
	}
	source, built := commandsSource(t), map[string]bool{} // monitorStatusCmd is closeout monitor status
	for _, m := range aBuiltOne.FindAllStringSubmatch(source, -1) {
		built[strings.ToLower(m[1])] = true
	}
	for _, m := range aCommand.FindAllStringSubmatch(text, -1) {
		if !built[m[1]+m[2]] {
			t.Errorf("it names %s`, which is no command", m[0])
		}
	}
	compose, err := os.ReadFile("compose.yaml") // has a few of its own
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range aSetting.FindAllString(text, -1) {
		tag := `env:"` + name + `"`
		if secret, is := strings.CutSuffix(name, "_FILE"); is {
			tag = `env:"` + secret + `" secret:""`
		}
		if !strings.Contains(source, tag) && !strings.Contains(string(compose), "${"+name+":") {
			t.Errorf("it names %s, which is no setting", name)
		}
	}
	known := readNames(t)
	for _, name := range aSeries.FindAllStringSubmatch(text, -1) {
		if _, ok := known[name[1]]; !ok {
			t.Errorf("it names %s, which no process shows", name[1])
		}
	}
}

func TestTheGuide(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	namesAreThere(t, guide, string(text))
	for name, least := range map[*regexp.Regexp]int{aLink: 3, aCommand: 25, aSetting: 15, aSeries: 5} { // what it names is found at all
		if n := len(name.FindAll(text, -1)); n < least {
			t.Errorf("%s finds %d, fewer than %d", name, n, least)
		}
	}
}
