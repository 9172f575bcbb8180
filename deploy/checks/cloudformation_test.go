package checks

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// template is a CloudFormation template as text, its sections read; a short tag such as !Ref has become its long form.
type template struct {
	name string
	root map[string]any
	used map[string]bool // what of its parameters, conditions and mappings something asks for
}

// readTemplate reads YAML, and refuses what CloudFormation refuses: a key twice and an alias.
func readTemplate(name, text string) (*template, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	v, err := readNode(doc.Content[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &template{name, v.(map[string]any), map[string]bool{}}, nil
}

func readNode(n *yaml.Node) (any, error) {
	var out any
	switch n.Kind {
	case yaml.AliasNode:
		return nil, fmt.Errorf("line %d: CloudFormation takes no alias", n.Line)
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := m[key]; twice {
				return nil, fmt.Errorf("line %d: %s is there twice", n.Line, key)
			}
			v, err := readNode(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[key] = v
		}
		out = m
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			v, err := readNode(c)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		out = list
	default:
		out = n.Value
		if !strings.HasPrefix(n.Tag, "!") || strings.HasPrefix(n.Tag, "!!") {
			if err := n.Decode(&out); err != nil {
				return nil, err
			}
			if i, whole := out.(int); whole {
				out = float64(i) // as JSON has it
			}
		}
	}
	switch tag := strings.TrimPrefix(n.Tag, "!"); {
	case strings.HasPrefix(tag, "!") || tag == n.Tag:
		return out, nil
	case tag == "Ref" || tag == "Condition":
		return map[string]any{tag: out}, nil
	default:
		return map[string]any{"Fn::" + tag: out}, nil
	}
}

// none is what !Ref AWS::NoValue stands for: the property is not there.
type none struct{}

// stack is a template with values for its parameters: every function worked out, as CloudFormation does before it makes anything.
// A resource's reference is STACK/NAME, its attribute STACK/NAME.ATTRIBUTE.
type stack struct {
	*template
	params    map[string]any
	exports   map[string]any // of the stacks before it
	resources map[string]map[string]any
	outputs   map[string]any
	faults    []string
}

var pseudo = map[string]any{
	"AWS::NoValue": none{}, "AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "123456789012", "AWS::StackName": "closeout-sandbox",
}

// attributes are those of resources that templates here may ask for, as the reference of AWS has them.
var attributes = map[string][]string{
	"AWS::IAM::Role":                            {"Arn"},
	"AWS::ECS::Service":                         {"Name"},
	"AWS::ElasticLoadBalancingV2::LoadBalancer": {"DNSName"},
	"AWS::ElastiCache::ReplicationGroup":        {"PrimaryEndPoint.Address", "PrimaryEndPoint.Port"},
	"AWS::RDS::DBInstance":                      {"Endpoint.Address", "Endpoint.Port"},
}

func (s *stack) fault(format string, args ...any) any {
	s.faults = append(s.faults, s.name+": "+fmt.Sprintf(format, args...))
	return "fault"
}

func section(m map[string]any, name string) map[string]any {
	part, _ := m[name].(map[string]any)
	return part
}

// work works a template out. What it exports is added to exports.
func (t *template) work(given, exports map[string]any) *stack {
	s := &stack{template: t, params: map[string]any{}, exports: exports, resources: map[string]map[string]any{}, outputs: map[string]any{}}
	for name, p := range section(t.root, "Parameters") {
		s.params[name] = s.parameter(name, p.(map[string]any), given)
	}
	for name := range given {
		if _, ok := s.params[name]; !ok {
			s.fault("has no parameter %s", name)
		}
	}
	all := section(t.root, "Resources")
	for name, r := range all {
		r := r.(map[string]any)
		if _, twice := s.params[name]; twice {
			s.fault("%s is a parameter and a resource", name)
		}
		if !s.made(r) {
			continue
		}
		for _, on := range listed(r["DependsOn"]) {
			if _, ok := all[on.(string)]; !ok {
				s.fault("%s depends on %s, which is not there", name, on)
			}
		}
		made, _ := s.eval(r).(map[string]any)
		s.resources[name] = made
		s.faults = append(s.faults, schemaFaults(s.name+": "+name, made)...)
	}
	for name, o := range section(t.root, "Outputs") {
		out, _ := s.eval(o).(map[string]any)
		s.outputs[name] = out["Value"]
		if export := section(out, "Export"); export != nil {
			exports[fmt.Sprint(export["Name"])] = out["Value"]
		}
	}
	return s
}

func listed(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// parameter is the value of a parameter: the given one or its default, held to what it allows.
func (s *stack) parameter(name string, p, given map[string]any) any {
	for key := range p {
		if !slices.Contains([]string{"Type", "Default", "Description", "AllowedValues", "AllowedPattern", "MinValue"}, key) {
			s.fault("parameter %s has %s", name, key)
		}
	}
	v, ok := given[name]
	if !ok {
		if v, ok = p["Default"]; !ok {
			return s.fault("parameter %s must be given", name)
		}
	}
	text := fmt.Sprint(v)
	if allowed := listed(p["AllowedValues"]); allowed != nil && !slices.ContainsFunc(allowed, func(a any) bool { return fmt.Sprint(a) == text }) {
		s.fault("parameter %s does not allow %q", name, text)
	}
	if pattern, ok := p["AllowedPattern"].(string); ok && !regexp.MustCompile("^(?:"+pattern+")$").MatchString(text) {
		s.fault("parameter %s does not allow %q", name, text)
	}
	switch kind, _ := p["Type"].(string); {
	case kind == "Number":
		n, err := strconv.ParseFloat(text, 64)
		if least, ok := p["MinValue"].(float64); err != nil || ok && n < least {
			s.fault("parameter %s does not allow %q", name, text)
		}
		return n
	case strings.HasPrefix(kind, "List<"):
		var list []any
		for part := range strings.SplitSeq(text, ",") {
			list = append(list, part)
		}
		return list
	case kind == "String" || strings.HasPrefix(kind, "AWS::EC2::"):
		return text
	default:
		return s.fault("parameter %s has the type %s", name, kind)
	}
}

func (s *stack) made(r map[string]any) bool {
	c, ok := r["Condition"].(string)
	return !ok || s.condition(c)
}

func (s *stack) condition(name string) bool {
	c, ok := section(s.root, "Conditions")[name]
	if !ok {
		s.fault("there is no condition %s", name)
		return false
	}
	s.used[name] = true
	yes, _ := s.eval(c).(bool)
	return yes
}

// eval works out every function in v.
func (s *stack) eval(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 1 {
			for name, arg := range v {
				if name == "Ref" || strings.HasPrefix(name, "Fn::") {
					return s.call(name, arg)
				}
			}
		}
		out := map[string]any{}
		for key, value := range v {
			if value = s.eval(value); value != (none{}) {
				out[key] = value
			}
		}
		return out
	case []any:
		out := []any{}
		for _, value := range v {
			if value = s.eval(value); value != (none{}) {
				out = append(out, value)
			}
		}
		return out
	default:
		return v
	}
}

func (s *stack) call(name string, arg any) any {
	args := listed(arg)
	switch name {
	case "Ref":
		return s.ref(fmt.Sprint(arg))
	case "Fn::GetAtt":
		return s.attribute(fmt.Sprint(arg))
	case "Fn::Sub":
		return s.sub(args)
	case "Fn::If":
		if s.condition(args[0].(string)) {
			return s.eval(args[1])
		}
		return s.eval(args[2])
	case "Fn::Equals":
		return s.eval(args[0]) == s.eval(args[1])
	case "Fn::Not":
		yes, _ := s.eval(args[0]).(bool)
		return !yes
	case "Fn::Join":
		var parts []string
		for _, p := range listed(s.eval(args[1])) {
			parts = append(parts, fmt.Sprint(p))
		}
		return strings.Join(parts, args[0].(string))
	case "Fn::Split":
		var parts []any
		for p := range strings.SplitSeq(fmt.Sprint(s.eval(args[1])), args[0].(string)) {
			parts = append(parts, p)
		}
		return parts
	case "Fn::FindInMap":
		s.used[args[0].(string)] = true
		row := section(section(section(s.root, "Mappings"), args[0].(string)), fmt.Sprint(s.eval(args[1])))
		v, ok := row[args[2].(string)]
		if !ok {
			return s.fault("the mapping has no %v", args)
		}
		return v
	case "Fn::ImportValue":
		v, ok := s.exports[fmt.Sprint(s.eval(arg))]
		if !ok {
			return s.fault("nobody exports %v", s.eval(arg))
		}
		return v
	default:
		return s.fault("has the function %s, which is unknown here", name)
	}
}

func (s *stack) ref(name string) any {
	if v, ok := pseudo[name]; ok {
		return v
	}
	if v, ok := s.params[name]; ok {
		s.used[name] = true
		return v
	}
	r := section(section(s.root, "Resources"), name)
	switch {
	case r == nil:
		return s.fault("there is no %s to refer to", name)
	case !s.made(r):
		return s.fault("refers to %s, which is not made", name)
	}
	return s.name + "/" + name
}

func (s *stack) attribute(of string) any {
	name, attribute, _ := strings.Cut(of, ".")
	kind, _ := section(section(s.root, "Resources"), name)["Type"].(string)
	if !slices.Contains(attributes[kind], attribute) {
		return s.fault("there is no %s to ask for", of)
	}
	return fmt.Sprintf("%s.%s", s.ref(name), attribute)
}

var hole = regexp.MustCompile(`\$\{([^}]*)\}`)

func (s *stack) sub(args []any) any {
	text, _ := args[0].(string)
	own, unused := map[string]any{}, map[string]bool{}
	if len(args) == 2 {
		own = args[1].(map[string]any)
		for name := range own {
			unused[name] = true
		}
	}
	out := hole.ReplaceAllStringFunc(text, func(h string) string {
		name := h[2 : len(h)-1]
		if v, ok := own[name]; ok {
			delete(unused, name)
			return fmt.Sprint(s.eval(v))
		}
		if strings.Contains(name, ".") {
			return fmt.Sprint(s.attribute(name))
		}
		return fmt.Sprint(s.ref(name))
	})
	for name := range unused {
		s.fault("%q does not use %s", text, name)
	}
	return out
}

// unused is what a template declares and nothing asked for, in any of the ways it was worked out.
func (t *template) unused() []string {
	var out []string
	for _, part := range []string{"Parameters", "Conditions", "Mappings"} {
		for _, name := range slices.Sorted(maps.Keys(section(t.root, part))) {
			if !t.used[name] {
				out = append(out, fmt.Sprintf("%s: nothing uses %s", t.name, name))
			}
		}
	}
	return out
}

// The checks of the schema can fail, and the tags are read.
func TestCloudFormationIsReadAsAWSReadsIt(t *testing.T) {
	t.Parallel()
	const head = "Parameters: {P: {Type: Number, Default: 3, MinValue: 1}}\nConditions: {C: !Equals [!Ref P, 3]}\nResources:\n  G:\n    Type: AWS::Logs::LogGroup\n    Properties: "
	for name, c := range map[string]struct{ text, fault string }{
		"whole":            {head + "{LogGroupName: !If [C, !Sub '${AWS::Region}-${P}', x], RetentionInDays: !Ref P}", ""},
		"unknown property": {head + "{RetentionInDayz: !Ref P}", "RetentionInDayz"},
		"wrong type":       {head + "{RetentionInDays: three}", "RetentionInDays"},
		"unknown type":     {strings.Replace(head, "LogGroup", "LogGruop", 1) + "{}", "no type AWS::Logs::LogGruop"},
		"unknown ref":      {head + "{LogGroupName: !Ref Q}", "no Q to refer to"},
		"unknown in a sub": {head + "{LogGroupName: !Sub 'x${Q}'}", "no Q to refer to"},
		"unknown att":      {head + "{LogGroupName: !GetAtt G.Nonsense}", "no G.Nonsense"},
		"unknown function": {head + "{LogGroupName: !Base64 x}", "Fn::Base64"},
		"unknown import":   {head + "{LogGroupName: !ImportValue x}", "nobody exports x"},
		"no condition":     {head + "{LogGroupName: !If [D, x, y]}", "no condition D"},
		"below the least":  {strings.Replace(head, "Default: 3", "Default: 0", 1) + "{}", `does not allow "0"`},
		"alias":            {head + "&p {LogGroupName: x}\n  H: *p", "no alias"},
		"one name for two": {strings.Replace(head, "{P: {", "{G: {Type: String, Default: x}, P: {", 1) + "{RetentionInDays: !Ref P}", "G is a parameter and a resource"},
		"twice":            {head + "{LogGroupName: x, LogGroupName: y}", "twice"},
	} {
		template, err := readTemplate("t", c.text)
		faults := []string{}
		if err != nil {
			faults = append(faults, err.Error())
		} else {
			faults = template.work(nil, map[string]any{}).faults
		}
		if (c.fault == "") != (len(faults) == 0) || !strings.Contains(strings.Join(faults, "\n"), c.fault) {
			t.Errorf("%s: %q, want %q", name, faults, c.fault)
		}
	}
}
