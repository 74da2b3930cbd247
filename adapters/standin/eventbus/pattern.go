package eventbus

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Match reports whether an event matches a pattern of EventBridge: an object
// of the event's fields, each with an object of its own or a list of what the
// value, or an element of it, may be: a string, number, boolean or null, or one
// of {"prefix": "a"}, {"anything-but": [...]}, {"exists": true}. Any other
// operator is an error, as is a pattern that is none.
func Match(pattern string, event json.RawMessage) (bool, error) {
	var p, e map[string]any
	if err := json.Unmarshal([]byte(pattern), &p); err != nil {
		return false, fmt.Errorf("pattern: %w", err)
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return false, fmt.Errorf("event: %w", err)
	}
	return matchObject("", p, e)
}

func matchObject(path string, pattern, event map[string]any) (bool, error) {
	if len(pattern) == 0 {
		return false, fmt.Errorf("pattern: %q is empty", path)
	}
	all := true
	for name, want := range pattern { // each is looked at, so that every fault is found
		at := strings.TrimPrefix(path+"."+name, ".")
		value, there := event[name]
		var ok bool
		var err error
		switch want := want.(type) {
		case map[string]any:
			inner, _ := value.(map[string]any) // nothing in it when it is none
			ok, err = matchObject(at, want, inner)
		case []any:
			ok, err = matchAny(at, want, value, there)
		default:
			err = fmt.Errorf("pattern: %q is neither an object nor a list", at)
		}
		if err != nil {
			return false, err
		}
		all = all && ok
	}
	return all, nil
}

func matchAny(path string, conditions []any, value any, there bool) (bool, error) {
	values, list := value.([]any)
	if !list {
		values = []any{value}
	}
	if len(conditions) == 0 {
		return false, fmt.Errorf("pattern: %q is an empty list", path)
	}
	found := false
	for _, c := range conditions {
		ok, err := matchOne(path, c, values, there)
		if err != nil {
			return false, err
		}
		found = found || ok
	}
	return found, nil
}

func matchOne(path string, condition any, values []any, there bool) (bool, error) {
	operator, ok := condition.(map[string]any)
	if !ok {
		if _, list := condition.([]any); list {
			return false, fmt.Errorf("pattern: %q has a list in its list", path)
		}
		return there && slices.Contains(comparable(values), condition), nil
	}
	if len(operator) == 1 {
		if prefix, ok := operator["prefix"].(string); ok {
			return slices.ContainsFunc(values, func(v any) bool { s, ok := v.(string); return ok && strings.HasPrefix(s, prefix) }), nil
		}
		if exists, ok := operator["exists"].(bool); ok {
			return exists == there, nil
		}
		if but, ok := operator["anything-but"]; ok {
			not, list := but.([]any)
			if !list {
				not = []any{but}
			}
			return there && slices.ContainsFunc(comparable(values), func(v any) bool { return !slices.Contains(comparable(not), v) }), nil
		}
	}
	return false, fmt.Errorf("pattern: %q has the operator %v, which is not known here", path, operator)
}

// comparable leaves out objects and lists, which no condition means.
func comparable(values []any) []any {
	return slices.DeleteFunc(slices.Clone(values), func(v any) bool {
		switch v.(type) {
		case map[string]any, []any:
			return true
		}
		return false
	})
}
