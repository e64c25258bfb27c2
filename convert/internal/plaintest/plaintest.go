// Package plaintest holds what the wire packages' tests of their hand-written JSON
// have in common.
package plaintest

import (
	"reflect"

	"github.com/go-json-experiment/json/jsontext"
)

// Fill sets a value to one that is not zero. Lists get one element; a list of the
// type that they are in stays empty.
func Fill(v reflect.Value) { fill(v, 3) }

func fill(v reflect.Value, depth int) {
	if depth == 0 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("te\"xt <é\u2028\n")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth-1)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[jsontext.Value]() {
			v.Set(reflect.ValueOf(jsontext.Value("{\"x\":1,\"y\":[\"\\n\"]}")))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth-1)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), depth-1)
			}
		}
	}
}
