package schema

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// decoder fills the structs of documents from nodes that the schema has
// accepted. Fields that the struct does not have are skipped: the schema has
// said what becomes of them.
type decoder struct {
	// fields holds the index of a struct's field by its name in documents.
	fields map[reflect.Type]map[string]int
	mu     sync.RWMutex
}

func newDecoder() *decoder { return &decoder{fields: map[reflect.Type]map[string]int{}} }

// intOrString is a number, or a name.
type intOrString struct {
	number int
	name   string
}

var intOrStringType = reflect.TypeFor[intOrString]()

// decode fills what out points to.
func (d *decoder) decode(n *node, out any) error { return d.value(n, reflect.ValueOf(out).Elem()) }

func (d *decoder) value(n *node, out reflect.Value) error {
	if n.kind == kindNull {
		return nil
	}
	if out.Type() == intOrStringType {
		return decodeIntOrString(n, out.Addr().Interface().(*intOrString))
	}
	switch out.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(out.Type().Elem()))
		return d.value(n, out.Elem())
	case reflect.String:
		out.SetString(n.text)
	case reflect.Bool:
		out.SetBool(n.text == "true")
	case reflect.Int:
		i, err := n.int()
		out.SetInt(int64(i))
		return err
	case reflect.Slice:
		out.Set(reflect.MakeSlice(out.Type(), len(n.items), len(n.items)))
		for i, item := range n.items {
			if err := d.value(item, out.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		m := make(map[string]string, len(n.keys))
		for i, key := range n.keys {
			m[key.text] = n.items[i].text
		}
		out.Set(reflect.ValueOf(m))
	case reflect.Struct:
		return d.structure(n, out)
	default:
		return fmt.Errorf("%s cannot be decoded", out.Type())
	}
	return nil
}

func (d *decoder) structure(n *node, out reflect.Value) error {
	fields := d.fieldsOf(out.Type())
	for i, key := range n.keys {
		index, ok := fields[key.text]
		if !ok {
			continue
		}
		if err := d.value(n.items[i], out.Field(index)); err != nil {
			return fmt.Errorf("%s: %w", key.text, err)
		}
	}
	return nil
}

// fieldsOf reads the json tags of a struct.
func (d *decoder) fieldsOf(t reflect.Type) map[string]int {
	d.mu.RLock()
	fields, ok := d.fields[t]
	d.mu.RUnlock()
	if ok {
		return fields
	}
	fields = make(map[string]int, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[name] = i
	}
	d.mu.Lock()
	d.fields[t] = fields
	d.mu.Unlock()
	return fields
}

func decodeIntOrString(n *node, out *intOrString) error {
	if n.kind == kindString {
		out.name = n.text
		return nil
	}
	i, err := n.int()
	out.number = i
	return err
}

// int is the number of a scalar. JSON knows no difference between 80, 80.0
// and 8e1.
func (n *node) int() (int, error) {
	if i, err := strconv.ParseInt(n.text, 0, 64); err == nil {
		return int(i), nil
	}
	f := n.float()
	if f != float64(int(f)) {
		return 0, fmt.Errorf("%s is not a whole number", n.text)
	}
	return int(f), nil
}
