package compile

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// What base does not compare would be remembered although it changed.
func TestBaseComparesEverything(t *testing.T) {
	differs(t, Host.equal)
	differs(t, func(a, b view.Peer) bool { return a.SameNode(b) }, "Pods", "Health") // of interest to services only
	differs(t, func(a, b view.Self) bool {
		of := func(s view.Self) base {
			return baseOf(&builder{Input: Input{Config: &schema.Config{}, View: view.View{Self: s}}}, &compiledServices{})
		}
		return of(a).equal(of(b))
	}, "Name", "Pods") // the first is in Host
}

// differs fails for each field that does not make two values unequal.
func differs[T any](t *testing.T, equal func(a, b T) bool, except ...string) {
	t.Helper()
	var zero T
	for i := range reflect.TypeFor[T]().NumField() {
		name := reflect.TypeFor[T]().Field(i).Name
		var other T
		fill(reflect.ValueOf(&other).Elem().Field(i))
		if !slices.Contains(except, name) && equal(zero, other) {
			t.Errorf("%T: %s is not compared", zero, name)
		}
	}
}

// fill gives a value that is not zero.
func fill(v reflect.Value) {
	if v.Type() == reflect.TypeFor[netip.Addr]() {
		v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Int:
		v.SetInt(1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.Zero(v.Type().Key()), reflect.Zero(v.Type().Elem()))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}
