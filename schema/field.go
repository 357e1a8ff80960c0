package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// field is what the schema says about a field beyond its type: its class
// and what is inside it.
type field struct {
	harmless    bool
	silent      bool // harmless, and not worth a warning
	reason      string
	fallback    any // the default
	hasDefault  bool
	properties  map[string]*field
	elements    *field
	annotations bool // keys with poplin/ are known ones only
}

// fieldsOf reads the classes of a kind out of the schema.
func (v *validator) fieldsOf(kind string) *field {
	f := v.readField(v.lookup("/$defs/" + kind))
	if metadata := f.properties["metadata"]; metadata != nil && metadata.properties["annotations"] != nil {
		metadata.properties["annotations"].annotations = true
	}
	return f
}

func (v *validator) readField(schema map[string]any) *field {
	f := &field{}
	if ref, ok := schema["$ref"].(string); ok {
		f = v.readField(v.lookup(strings.TrimPrefix(ref, "#")))
	}
	if schema["x-class"] == "harmless" {
		f.harmless = true
		f.silent = schema["x-silent"] == true
		f.reason, _ = schema["x-reason"].(string)
	}
	if fallback, ok := schema["default"]; ok {
		f.fallback, f.hasDefault = fallback, true
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		f.properties = make(map[string]*field, len(properties))
		for name, p := range properties {
			p, _ := p.(map[string]any)
			f.properties[name] = v.readField(p)
		}
	}
	if elements, ok := schema["items"].(map[string]any); ok {
		f.elements = v.readField(elements)
	}
	return f
}

// harmlessUse is a field that is accepted and has no effect.
type harmlessUse struct {
	at     pointer
	name   string // the path without indices: spec.containers[].image
	reason string
}

// fieldWalk looks for harmless fields and unknown annotations in a document.
type fieldWalk struct {
	harmless []harmlessUse
	findings []finding
}

func (w *fieldWalk) walk(n *node, f *field, at pointer, name string) {
	if f == nil {
		return
	}
	switch n.kind {
	case kindSequence:
		for i, item := range n.items {
			w.walk(item, f.elements, at.item(i), name+"[]")
		}
	case kindMapping:
		if f.annotations {
			w.annotations(n, f, at, name)
			return
		}
		for i, key := range n.keys {
			if p := f.properties[key.text]; p != nil {
				w.property(n.items[i], p, at.field(key.text), strings.TrimPrefix(name+"."+key.text, "."))
			}
		}
	}
}

func (w *fieldWalk) property(value *node, f *field, at pointer, name string) {
	if !f.harmless {
		w.walk(value, f, at, name)
		return
	}
	isDefault := value.kind == kindNull || f.hasDefault && fmt.Sprint(f.fallback) == fmt.Sprint(value.json())
	empty := (value.kind == kindMapping || value.kind == kindSequence) && len(value.items) == 0
	if !f.silent && !isDefault && !empty {
		w.harmless = append(w.harmless, harmlessUse{at, name, f.reason})
	}
}

// annotations refuses unknown ones of ours, and counts those of others.
func (w *fieldWalk) annotations(n *node, f *field, at pointer, name string) {
	foreign := false
	for _, key := range n.keys {
		switch {
		case f.properties[key.text] != nil:
		case strings.HasPrefix(key.text, annotationPrefix):
			known := slices.Collect(maps.Keys(f.properties))
			w.findings = append(w.findings, finding{at: at.field(key.text), onKey: true, message: fmt.Sprintf("unknown annotation %q", key.text) + didYouMean(key.text, known)})
		default:
			foreign = true
		}
	}
	if foreign {
		w.harmless = append(w.harmless, harmlessUse{at, name, "only those that start with poplin/ are read"})
	}
}

// annotationPrefix starts the names of the annotations that poplin reads.
const annotationPrefix = "poplin/"
