package convert_test

import (
	"reflect"
	"slices"
	"strings"
)

// sdkField is a member of a request, as the SDK's types have it: a path such as
// messages[assistant].tool_calls[function].function.name, where [x] is the variant
// of a union that has the type or role x.
type sdkField struct {
	path string
	typ  reflect.Type
}

// walkSDK lists the members of t and of what they hold. It does not go below the
// paths for which opaque is true, nor into a type that it is already in.
func walkSDK(t reflect.Type, path string, opaque func(string) bool, within []reflect.Type) []sdkField {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return walkSDK(t.Elem(), path, opaque, within)
	case reflect.Struct:
	default:
		return nil
	}
	if slices.Contains(within, t) || strings.HasPrefix(t.Name(), "Opt[") {
		return nil
	}
	within = append(within, t)
	var list []sdkField
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("json")
		if !ok || tag == "-" || !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		if name == "" { // a variant of a union
			list = append(list, walkVariant(f, path, opaque, within)...)
			continue
		}
		if _, constant := constantOf(f.Type); constant {
			continue // it is the tag
		}
		sub := name
		if path != "" {
			sub = path + "." + name
		}
		list = append(list, sdkField{sub, f.Type})
		if !opaque(sub) {
			list = append(list, walkSDK(f.Type, sub, opaque, within)...)
		}
	}
	return list
}

// walkVariant lists the members of one variant of a union. A bare value, such as
// a string, is a variant without members.
func walkVariant(f reflect.StructField, path string, opaque func(string) bool, within []reflect.Type) []sdkField {
	name, ok := tagOf(f.Type)
	switch {
	case !ok && f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
		return walkSDK(f.Type, path, opaque, within) // the list of what are variants again
	case !ok:
		name = strings.TrimPrefix(f.Name, "Of")
	}
	sub := path + "[" + name + "]"
	list := []sdkField{{sub, f.Type}}
	if !opaque(sub) {
		list = append(list, walkSDK(f.Type, sub, opaque, within)...)
	}
	return list
}

// tagOf is the constant that tells a variant from the others: its role or type.
func tagOf(t reflect.Type) (string, bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return "", false
	}
	tag := ""
	for _, name := range []string{"Type", "Role"} {
		if f, ok := t.FieldByName(name); ok && (tag == "" || tag == "message") {
			if value, ok := constantOf(f.Type); ok {
				tag = value
			}
		}
	}
	return tag, tag != ""
}

// constantOf is the value of a type of the SDK's that has only one.
func constantOf(t reflect.Type) (string, bool) {
	if !strings.HasSuffix(t.PkgPath(), "/constant") {
		return "", false
	}
	method := reflect.New(t).Elem().MethodByName("Default")
	if !method.IsValid() {
		return "", false
	}
	return method.Call(nil)[0].String(), true
}
