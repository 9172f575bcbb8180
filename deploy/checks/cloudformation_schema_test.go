package checks

import (
	"fmt"
	"strings"
	"sync"

	"github.com/awslabs/goformation/v7/schema"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// resourceDefinitions are those of the schema that goformation ships, one for each type of resource and of what stands in one.
var resourceDefinitions = sync.OnceValue(func() map[string]any {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema.CloudformationSchema))
	if err != nil {
		panic(err)
	}
	return section(doc.(map[string]any), "definitions")
})

// needed adds a definition and those that it refers to: compiled as a whole the schema takes minutes.
func needed(name string, into map[string]any) {
	if _, there := into[name]; there {
		return
	}
	into[name] = resourceDefinitions()[name]
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if to, ok := v["$ref"].(string); ok {
				needed(strings.TrimPrefix(to, "#/definitions/"), into)
			}
			for _, part := range v {
				walk(part)
			}
		case []any:
			for _, part := range v {
				walk(part)
			}
		}
	}
	walk(into[name])
}

var schemas sync.Map // of types of resources

func schemaOf(kind string) (*jsonschema.Schema, error) {
	if s, ok := schemas.Load(kind); ok {
		return s.(*jsonschema.Schema), nil
	}
	if resourceDefinitions()[kind] == nil {
		return nil, fmt.Errorf("there is no type %s", kind)
	}
	own := map[string]any{}
	needed(kind, own)
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:cloudformation", map[string]any{"definitions": own}); err != nil {
		return nil, err
	}
	s, err := c.Compile("mem:cloudformation#/definitions/" + kind)
	if err == nil {
		schemas.Store(kind, s)
	}
	return s, err
}

// schemaFaults holds a worked out resource to the schema of its type, which takes no unknown property.
func schemaFaults(what string, r map[string]any) []string {
	s, err := schemaOf(fmt.Sprint(r["Type"]))
	if err == nil {
		err = s.Validate(r)
	}
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", what, err)}
	}
	return nil
}
