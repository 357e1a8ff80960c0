package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Describe lists the fields of a kind with what they mean: the text of
// `poplin schema KIND`. The kind may be in any case.
func Describe(kind string) (string, error) {
	v := &validator{}
	if err := json.Unmarshal(schemaJSON, &v.raw); err != nil {
		return "", fmt.Errorf("poplin.schema.json: %w", err)
	}
	var names []string
	for _, k := range documentKinds {
		if strings.EqualFold(k.name, kind) {
			return describeKind(v, k), nil
		}
		names = append(names, k.name)
	}
	return "", fmt.Errorf("no kind %q among %s%s", kind, joinWords(names), didYouMean(kind, names))
}

func describeKind(v *validator, k documentKind) string {
	d := describer{validator: v}
	schema := v.lookup("/$defs/" + k.name)
	fmt.Fprintf(&d.text, "%s (%s)\n", k.name, k.apiVersion)
	d.paragraph("  ", schema["description"])
	if examples, ok := schema["examples"].([]any); ok {
		example, _ := json.Marshal(examples[0])
		fmt.Fprintf(&d.text, "\nExample\n  %s\n", example)
	}
	d.fields("", schema)
	for _, group := range []struct {
		title string
		lines []string
	}{
		{"Fields", d.supported},
		{"Refused (a value in brackets is accepted)", d.refused},
		{"Harmless: accepted, without effect", d.harmless},
	} {
		if len(group.lines) > 0 {
			fmt.Fprintf(&d.text, "\n%s\n%s", group.title, strings.Join(group.lines, ""))
		}
	}
	return d.text.String()
}

// describer collects the lines of a kind by the class of the field.
type describer struct {
	*validator
	text                         strings.Builder
	supported, refused, harmless []string
}

func (d *describer) paragraph(indent string, text any) {
	if text, ok := text.(string); ok {
		d.text.WriteString(wrap(indent, text))
	}
}

// fields walks through the properties in the order of their names, those
// that are required first.
func (d *describer) fields(path string, schema map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	names := slices.Sorted(maps.Keys(properties))
	slices.SortStableFunc(names, func(a, b string) int { return rank(required, a) - rank(required, b) })
	for _, name := range names {
		property, _ := properties[name].(map[string]any)
		d.field(strings.TrimPrefix(path+"."+name, "."), d.resolve(property), slices.Contains(required, any(name)))
	}
}

func rank(required []any, name string) int {
	if i := slices.Index(required, any(name)); i >= 0 {
		return i
	}
	return len(required)
}

// resolve puts what a $ref leads to under what is written beside it.
func (d *describer) resolve(schema map[string]any) map[string]any {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema
	}
	out := maps.Clone(d.resolve(d.lookup(strings.TrimPrefix(ref, "#"))))
	maps.Copy(out, schema)
	return out
}

func (d *describer) field(path string, schema map[string]any, required bool) {
	description, _ := schema["description"].(string)
	reason, _ := schema["x-reason"].(string)
	switch schema["x-class"] {
	case "harmless":
		d.harmless = append(d.harmless, "  "+path+"\n"+wrap("      ", strings.TrimSpace(description+" "+sentence(reason))))
		return
	case "refused":
		if fallback, ok := schema["default"]; ok {
			path += fmt.Sprintf(" [%v]", jsonText(fallback))
		}
		d.refused = append(d.refused, "  "+path+"\n"+wrap("      ", strings.TrimSpace(description+" "+sentence(reason))))
		return
	}
	line := "  " + path + "  " + typeText(schema)
	if required {
		line += ", required"
	}
	if fallback, ok := schema["default"]; ok {
		line += ", default " + jsonText(fallback)
	}
	d.supported = append(d.supported, line+"\n"+wrap("      ", description))
	d.fields(path, schema)
	if items, ok := schema["items"].(map[string]any); ok {
		d.fields(path+"[]", d.resolve(items))
	}
}

// typeText is the type of a field in a few words.
func typeText(schema map[string]any) string {
	if c, ok := schema["const"]; ok {
		return jsonText(c)
	}
	if enum, ok := schema["enum"].([]any); ok {
		words := make([]string, len(enum))
		for i, e := range enum {
			words[i] = fmt.Sprint(e)
		}
		return strings.Join(words, " | ")
	}
	if items, ok := schema["items"].(map[string]any); ok {
		return "list of " + typeText(items)
	}
	if format, ok := schema["format"].(string); ok {
		return strings.TrimPrefix(format, "optional-")
	}
	switch t := schema["type"].(type) {
	case string:
		return t
	case []any:
		return typeWords(t)
	}
	return "map"
}

func jsonText(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// sentence makes a reason the sentence that it is.
func sentence(reason string) string {
	if reason == "" {
		return ""
	}
	return strings.ToUpper(reason[:1]) + reason[1:] + "."
}

// wrap breaks a text into lines of at most 80 characters.
func wrap(indent, text string) string {
	var b strings.Builder
	length := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case length == 0:
			b.WriteString(indent)
			length = len(indent)
		case length+1+len(word) > 80:
			b.WriteString("\n" + indent)
			length = len(indent)
		default:
			b.WriteByte(' ')
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	if length > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}
