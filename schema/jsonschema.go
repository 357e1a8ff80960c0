package schema

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

//go:embed poplin.schema.json
var schemaJSON []byte

// Schema returns the JSON Schema (draft 2020-12) of all documents.
func Schema() []byte { return bytes.Clone(schemaJSON) }

// schemaURL is only a name; nothing is fetched.
const schemaURL = "poplin.schema.json"

// validator holds the compiled schema of every kind, and the schema as it is
// written, from which messages are made.
type validator struct {
	kinds   map[string]*jsonschema.Schema
	raw     map[string]any
	formats map[string]format
}

func newValidator() (*validator, error) {
	v := &validator{kinds: map[string]*jsonschema.Schema{}, formats: formats()}
	if err := json.Unmarshal(schemaJSON, &v.raw); err != nil {
		return nil, fmt.Errorf("poplin.schema.json: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft2020
	// Without this the library treats formats of this draft as comments.
	c.AssertFormat = true
	for name, f := range v.formats {
		c.Formats[name] = func(value any) bool {
			s, isString := value.(string)
			return !isString || f.ok(s)
		}
	}
	if err := c.AddResource(schemaURL, bytes.NewReader(schemaJSON)); err != nil {
		return nil, fmt.Errorf("poplin.schema.json: %w", err)
	}
	for _, kind := range documentKinds {
		s, err := c.Compile(schemaURL + "#/$defs/" + kind.name)
		if err != nil {
			return nil, fmt.Errorf("poplin.schema.json: %w", err)
		}
		v.kinds[kind.name] = s
	}
	return v, nil
}

// finding is something wrong at a place of one document.
type finding struct {
	at      pointer
	onKey   bool // about the field's name, not its value
	missing bool // about a field that is not there
	message string
}

// validate returns everything that the schema of the kind refuses, in no
// order.
func (v *validator) validate(kind string, document *node) []finding {
	err := v.kinds[kind].Validate(document.json())
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return []finding{{message: err.Error()}}
	}
	var findings []finding
	v.collect(document, invalid, &findings)
	return findings
}

// collect walks the tree of errors to its leaves. The branches of anyOf are
// not looked into: the schema has a message for the whole.
func (v *validator) collect(document *node, e *jsonschema.ValidationError, out *[]finding) {
	location := e.AbsoluteKeywordLocation
	_, fragment, _ := strings.Cut(location, "#")
	keyword := fragment[strings.LastIndexByte(fragment, '/')+1:]
	if len(e.Causes) > 0 && keyword != "anyOf" {
		for _, cause := range e.Causes {
			v.collect(document, cause, out)
		}
		return
	}
	schema := v.lookup(strings.TrimSuffix(fragment, "/"+keyword))
	at := pointer(e.InstanceLocation)
	value := document.at(at)
	if schema == nil || value == nil {
		*out = append(*out, finding{at: at, message: e.Message})
		return
	}
	if reason, ok := schema["x-reason"].(string); ok && schema["x-class"] == "refused" {
		*out = append(*out, finding{at: at, onKey: true, message: refusal(at, value, schema, reason)})
		return
	}
	*out = append(*out, v.explain(at, value, keyword, schema, e.Message)...)
}

// refusal is the message about a field that is refused, or refused but for
// Kubernetes' default.
func refusal(at pointer, value *node, schema map[string]any, reason string) string {
	parts := at.parts()
	name := parts[len(parts)-1]
	if _, ok := schema["default"]; ok && value.kind != kindMapping && value.kind != kindSequence {
		return fmt.Sprintf("%s: %s is refused: %s", name, value.text, reason)
	}
	return fmt.Sprintf("field %q is refused: %s", name, reason)
}

// lookup follows a pointer into the schema as it is written.
func (v *validator) lookup(fragment string) map[string]any {
	var at any = v.raw
	for _, part := range pointer(fragment).parts() {
		switch x := at.(type) {
		case map[string]any:
			at = x[part]
		default:
			return nil
		}
	}
	m, _ := at.(map[string]any)
	return m
}

// explain turns one failed keyword into findings.
func (v *validator) explain(at pointer, value *node, keyword string, schema map[string]any, fallback string) []finding {
	if message, ok := schema["x-message"].(string); ok {
		return []finding{{at: at, message: message}}
	}
	one := func(format string, args ...any) []finding {
		return []finding{{at: at, message: fmt.Sprintf(format, args...)}}
	}
	switch keyword {
	case "additionalProperties":
		return unknownFields(at, value, schema)
	case "required":
		return missingFields(at, value, schema)
	case "type":
		return one("must be %s, but is %s", typeWords(schema["type"]), value.kind)
	case "enum", "const":
		return one("%s", explainEnum(value, schema))
	case "format":
		name, _ := schema["format"].(string)
		return one("%q must be %s", value.text, v.formats[name].what)
	case "minimum", "maximum":
		return one("%s must be between %v and %v", value.text, schema["minimum"], schema["maximum"])
	case "minItems", "maxItems":
		return one("must have %s, but this list has %d", countWords(schema, "minItems", "maxItems"), len(value.items))
	case "minLength":
		return one("must not be empty")
	}
	return one("%s", fallback)
}

func unknownFields(at pointer, value *node, schema map[string]any) []finding {
	properties, _ := schema["properties"].(map[string]any)
	known := slices.Collect(maps.Keys(properties))
	var findings []finding
	for i, key := range value.keys {
		if _, ok := properties[key.text]; ok || value.items[i].kind == kindNull {
			continue
		}
		findings = append(findings, finding{at: at.field(key.text), onKey: true, message: fmt.Sprintf("unknown field %q", key.text) + didYouMean(key.text, known)})
	}
	return findings
}

func missingFields(at pointer, value *node, schema map[string]any) []finding {
	required, _ := schema["required"].([]any)
	var findings []finding
	for _, name := range required {
		if name, _ := name.(string); value.get(name) == nil {
			findings = append(findings, finding{at: at, missing: true, message: fmt.Sprintf("field %q is missing", name)})
		}
	}
	return findings
}

func explainEnum(value *node, schema map[string]any) string {
	if reasons, ok := schema["x-values"].(map[string]any); ok {
		if reason, ok := reasons[value.text].(string); ok {
			return reason
		}
	}
	allowed, _ := schema["enum"].([]any)
	if c, ok := schema["const"]; ok {
		allowed = []any{c}
	}
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = fmt.Sprint(a)
	}
	what := value.kind.String()
	if value.kind != kindMapping && value.kind != kindSequence {
		what = fmt.Sprintf("%q", value.text)
	}
	return fmt.Sprintf("must be %s, but is %s", joinOr(words), what) + didYouMean(value.text, words)
}

// joinOr joins words as a sentence does: a, b or c.
func joinOr(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func typeWords(t any) string {
	words := map[string]string{
		"object": "a map", "array": "a list", "string": "a string", "integer": "a whole number",
		"number": "a number", "boolean": "true or false", "null": "nothing",
	}
	if list, ok := t.([]any); ok {
		var out []string
		for _, name := range list {
			out = append(out, words[fmt.Sprint(name)])
		}
		return strings.Join(out, " or ")
	}
	return words[fmt.Sprint(t)]
}

func countWords(schema map[string]any, least, most string) string {
	low, hasLow := schema[least].(float64)
	high, hasHigh := schema[most].(float64)
	switch {
	case hasLow && hasHigh && low == high:
		return fmt.Sprintf("exactly %v element", low)
	case hasLow && hasHigh:
		return fmt.Sprintf("%v or %v elements", low, high)
	case hasLow:
		return fmt.Sprintf("at least %v element", low)
	}
	return fmt.Sprintf("at most %v elements", high)
}
