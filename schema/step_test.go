package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestStep keeps the Go types and the schema in step: every supported field
// is in a struct, and every field of a struct is supported.
func TestStep(t *testing.T) {
	v := &validator{}
	if err := json.Unmarshal(schemaJSON, &v.raw); err != nil {
		t.Fatal(err)
	}
	for kind, document := range map[string]any{
		"Cluster": clusterDocument{}, "Subnet": subnetDocument{}, "Node": nodeDocument{}, "Pod": podDocument{},
		"Service": serviceDocument{}, "EndpointSlice": sliceDocument{}, "Endpoints": endpointsDocument{},
	} {
		var inSchema, inGo []string
		schemaFields(v, v.lookup("/$defs/"+kind), "", &inSchema)
		goFields(reflect.TypeOf(document), "", &inGo)
		for _, f := range inSchema {
			if !slices.Contains(inGo, f) {
				t.Errorf("%s: %s is in the schema only", kind, f)
			}
		}
		for _, f := range inGo {
			// Namespaces of kinds that have none are harmless.
			if !slices.Contains(inSchema, f) && f != "metadata.namespace" {
				t.Errorf("%s: %s is in the Go type only", kind, f)
			}
		}
	}
}

func schemaFields(v *validator, schema map[string]any, path string, out *[]string) {
	d := describer{validator: v}
	schema = d.resolve(schema)
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		p := d.resolve(p.(map[string]any))
		here := strings.TrimPrefix(path+"."+name, ".")
		if p["x-class"] != nil {
			continue
		}
		*out = append(*out, here)
		if name == "annotations" {
			continue // a map to the Go types
		}
		schemaFields(v, p, here, out)
		if items, ok := p["items"].(map[string]any); ok {
			schemaFields(v, items, here+"[]", out)
		}
	}
}

func goFields(t reflect.Type, path string, out *[]string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice {
			path += "[]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == intOrStringType {
		return
	}
	for i := range t.NumField() {
		here := strings.TrimPrefix(path+"."+t.Field(i).Tag.Get("json"), ".")
		*out = append(*out, here)
		goFields(t.Field(i).Type, here, out)
	}
}

// TestSchemaText: every field has a description, every class is a known one,
// every refusal says why, and the examples are valid.
func TestSchemaText(t *testing.T) {
	v, err := newValidator()
	if err != nil {
		t.Fatal(err)
	}
	var walk func(path string, x any)
	walk = func(path string, x any) {
		m, ok := x.(map[string]any)
		if !ok {
			return
		}
		if properties, ok := m["properties"].(map[string]any); ok {
			for name, p := range properties {
				p, _ := p.(map[string]any)
				if p["description"] == nil {
					t.Errorf("%s/%s: no description", path, name)
				}
				class := p["x-class"]
				if class != nil && class != "harmless" && class != "refused" {
					t.Errorf("%s/%s: class %v", path, name, class)
				}
				if class == "refused" && p["x-reason"] == nil {
					t.Errorf("%s/%s: refused without a reason", path, name)
				}
				if format, ok := p["format"].(string); ok && v.formats[format].ok == nil {
					t.Errorf("%s/%s: no format %q", path, name, format)
				}
			}
		}
		for name, child := range m {
			if name != "default" && name != "examples" {
				walk(path+"/"+name, child)
			}
		}
	}
	walk("", v.raw)
	for _, k := range documentKinds {
		examples, _ := v.lookup("/$defs/" + k.name)["examples"].([]any)
		for i, example := range examples {
			if err := v.kinds[k.name].Validate(example); err != nil {
				t.Errorf("%s: example %d: %v", k.name, i, err)
			}
		}
	}
}

// TestClasses gives each harmless and refused field of the schema a value
// and looks for what is said about it.
func TestClasses(t *testing.T) {
	v, err := newValidator()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, k := range documentKinds {
		var walk func(path []string, f map[string]any)
		d := describer{validator: v}
		walk = func(path []string, schema map[string]any) {
			properties, _ := schema["properties"].(map[string]any)
			for name, p := range properties {
				p := d.resolve(p.(map[string]any))
				here := append(slices.Clone(path), name)
				if p["x-class"] == nil {
					walk(here, p)
					if items, ok := p["items"].(map[string]any); ok {
						walk(append(here, "[]"), d.resolve(items))
					}
					continue
				}
				if k.name == "List" {
					continue
				}
				n++
				t.Run(k.name+"."+strings.Join(here, "."), func(t *testing.T) { checkClass(t, v, k, here, p) })
			}
		}
		walk(nil, v.lookup("/$defs/"+k.name))
	}
	if n < 100 {
		t.Errorf("only %d fields found", n)
	}
}

// checkClass puts a value and, where there is one, the default at a path.
func checkClass(t *testing.T, v *validator, k documentKind, path []string, p map[string]any) {
	p0 := pointer("")
	for _, step := range path {
		if step == "[]" {
			step = "0"
		}
		p0 = p0.field(step)
	}
	if fallback, ok := p["default"]; ok {
		findings, uses := judge(t, v, k, path, fallback)
		for _, f := range findings {
			if f.at == p0 {
				t.Errorf("the default %v is refused: %s", fallback, f.message)
			}
		}
		if len(uses) > 0 {
			t.Errorf("the default %v is warned of", fallback)
		}
	}
	value := map[string]any{"array": []any{map[string]any{}}, "integer": 7, "string": "other", "object": map[string]any{"x": "y"}}[fmt.Sprint(p["type"])]
	if value == nil {
		value = "other"
	}
	if enum, ok := p["enum"].([]any); ok && p["x-class"] == "harmless" {
		value = enum[len(enum)-1]
	}
	findings, uses := judge(t, v, k, path, value)
	refused := slices.ContainsFunc(findings, func(f finding) bool {
		return f.at == p0 && strings.Contains(f.message, "refused: "+fmt.Sprint(p["x-reason"]))
	})
	if want := p["x-class"] == "refused"; refused != want {
		t.Errorf("refused: %v, want %v (%v)", refused, want, findings)
	}
	if want := p["x-class"] == "harmless" && p["x-silent"] == nil; (len(uses) == 1) != want {
		t.Errorf("%d warnings, want one: %v", len(uses), want)
	}
}

// judge validates a document that has nothing but a value at a path.
func judge(t *testing.T, v *validator, k documentKind, path []string, value any) ([]finding, []harmlessUse) {
	t.Helper()
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == "[]" {
			value = []any{value}
		} else {
			value = map[string]any{path[i]: value}
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	nodes, errs := readJSON(text)
	if len(errs) > 0 || len(nodes) != 1 {
		t.Fatal(errs)
	}
	var walk fieldWalk
	walk.walk(nodes[0], v.fieldsOf(k.name), "", "")
	return append(v.validate(k.name, nodes[0]), walk.findings...), walk.harmless
}
