package dynamo

import (
	"fmt"
	"math/big"
	"strings"
)

// value is an attribute's value: one of its fields. B stays in base64.
type value struct {
	S    *string `json:",omitempty"`
	N    *string `json:",omitempty"`
	B    *string `json:",omitempty"`
	BOOL *bool   `json:",omitempty"`
}

type item = map[string]value

// maxDigits is how many a number may have.
const maxDigits = 38

// errOperand says that an item has another type where an update needs a number.
var errOperand = refused("ValidationException", "an operand is no number")

// whole reads a number. DynamoDB has decimals; this has whole ones.
func whole(v value) (*big.Int, error) {
	if v.N == nil {
		return nil, errOperand
	}
	n, ok := new(big.Int).SetString(*v.N, 10)
	if !ok || len(strings.TrimPrefix(*v.N, "-")) > maxDigits {
		return nil, invalid("the number %q: this stand-in knows whole ones of up to %d digits", *v.N, maxDigits)
	}
	return n, nil
}

// check refuses a value that DynamoDB would refuse, or that is of a type this
// does not know.
func (v value) check() error {
	set := 0
	for _, there := range [...]bool{v.S != nil, v.N != nil, v.B != nil, v.BOOL != nil} {
		if there {
			set++
		}
	}
	if set != 1 {
		return invalid("a value of %d types: this stand-in knows S, N, B and BOOL", set)
	}
	if v.N != nil {
		_, err := whole(v)
		return err
	}
	return nil
}

func (v value) size() int {
	for _, text := range [...]*string{v.S, v.N} {
		if text != nil {
			return len(*text)
		}
	}
	if v.B != nil {
		return len(*v.B) / 4 * 3
	}
	return 1
}

// compare orders two values of one type; ok is false when they cannot be.
func compare(a, b value) (order int, ok bool) {
	switch {
	case a.S != nil && b.S != nil:
		return strings.Compare(*a.S, *b.S), true
	case a.B != nil && b.B != nil && *a.B == *b.B:
		return 0, true
	case a.N != nil && b.N != nil:
		x, errX := whole(a)
		y, errY := whole(b)
		if errX == nil && errY == nil {
			return x.Cmp(y), true
		}
	}
	return 0, false
}

// names are the placeholders of a request, and which of them were used.
type names struct {
	Names  map[string]string `json:"ExpressionAttributeNames"`
	Values item              `json:"ExpressionAttributeValues"`
	used   map[string]bool
}

func (n *names) use(placeholder string) {
	if n.used == nil {
		n.used = map[string]bool{}
	}
	n.used[placeholder] = true
}

// settled refuses placeholders that nothing has used.
func (n *names) settled() error {
	for name := range n.Names {
		if !n.used[name] {
			return invalid("Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", name)
		}
	}
	for name, v := range n.Values {
		if !n.used[name] {
			return invalid("Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", name)
		}
		if err := v.check(); err != nil {
			return err
		}
	}
	return nil
}

// parser reads an expression.
type parser struct {
	tokens []string
	at     int
	*names
}

func newParser(text string, n *names) *parser {
	var tokens []string
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ':
			i++
		case strings.IndexByte("(),=+-", c) >= 0:
			tokens = append(tokens, text[i:i+1])
			i++
		case c == '<' || c == '>':
			end := i + 1
			if end < len(text) && (text[end] == '=' || text[end] == '>') {
				end++
			}
			tokens = append(tokens, text[i:end])
			i = end
		default:
			end := i
			for end < len(text) && strings.IndexByte(" (),=<>+-", text[end]) < 0 {
				end++
			}
			tokens = append(tokens, text[i:end])
			i = end
		}
	}
	return &parser{tokens: tokens, names: n}
}

func (p *parser) peek() string {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return ""
}

// take takes a token if it is the next; words are in capital letters.
func (p *parser) take(token string) bool {
	if strings.ToUpper(p.peek()) != token {
		return false
	}
	p.at++
	return true
}

func (p *parser) expect(token string) error {
	if !p.take(token) {
		return invalid("Syntax error in an expression: expected %q at %q", token, p.peek())
	}
	return nil
}

func (p *parser) end() error {
	if p.at != len(p.tokens) {
		return invalid("Syntax error in an expression at %q", p.peek())
	}
	return nil
}

// attribute reads the name of one.
func (p *parser) attribute() (string, error) {
	name := p.peek()
	p.at++
	if !strings.HasPrefix(name, "#") {
		if name == "" || strings.ContainsAny(name, ":.[(),=<>") {
			return "", invalid("Syntax error in an expression at %q: expected an attribute", name)
		}
		return name, nil
	}
	full, ok := p.Names[name]
	if !ok {
		return "", invalid("An expression attribute name used in the document path is not defined; attribute name: %s", name)
	}
	p.use(name)
	return full, nil
}

// operand reads a value or an attribute of it; ok is false when it is not there.
func (p *parser) operand(it item) (v value, ok bool, err error) {
	if name := p.peek(); strings.HasPrefix(name, ":") {
		p.at++
		if v, ok = p.Values[name]; !ok {
			return v, false, invalid("An expression attribute value used in expression is not defined; attribute value: %s", name)
		}
		p.use(name)
		return v, true, nil
	}
	name, err := p.attribute()
	v, ok = it[name]
	return v, ok, err
}

// condition reports whether an item meets a condition; "": it does.
func condition(text string, it item, n *names) (bool, error) {
	if text == "" {
		return true, nil
	}
	p := newParser(text, n)
	met, err := p.or(it)
	if err == nil {
		err = p.end()
	}
	return met, err
}

// All of it is read whatever comes out, so that every placeholder is seen.
func (p *parser) or(it item) (bool, error) {
	met, err := p.and(it)
	for err == nil && p.take("OR") {
		var more bool
		more, err = p.and(it)
		met = met || more
	}
	return met, err
}

func (p *parser) and(it item) (bool, error) {
	met, err := p.test(it)
	for err == nil && p.take("AND") {
		var more bool
		more, err = p.test(it)
		met = met && more
	}
	return met, err
}

func (p *parser) test(it item) (bool, error) {
	if p.take("(") {
		met, err := p.or(it)
		if err == nil {
			err = p.expect(")")
		}
		return met, err
	}
	if p.take("NOT") {
		met, err := p.test(it)
		return !met, err
	}
	for function, there := range map[string]bool{"ATTRIBUTE_EXISTS": true, "ATTRIBUTE_NOT_EXISTS": false} {
		if p.take(function) {
			if err := p.expect("("); err != nil {
				return false, err
			}
			name, err := p.attribute()
			if err != nil {
				return false, err
			}
			_, ok := it[name]
			return ok == there, p.expect(")")
		}
	}
	return p.comparison(it)
}

func (p *parser) comparison(it item) (bool, error) {
	a, okA, err := p.operand(it)
	if err != nil {
		return false, err
	}
	operator := strings.ToUpper(p.peek())
	p.at++
	b, okB, err := p.operand(it)
	if err != nil {
		return false, err
	}
	order, ok := compare(a, b)
	ok = ok && okA && okB
	switch operator {
	case "=":
		return ok && order == 0, nil
	case "<>":
		return !ok || order != 0, nil
	case "<":
		return ok && order < 0, nil
	case "<=":
		return ok && order <= 0, nil
	case ">":
		return ok && order > 0, nil
	case ">=":
		return ok && order >= 0, nil
	case "BETWEEN":
		if err := p.expect("AND"); err != nil {
			return false, err
		}
		c, okC, err := p.operand(it)
		if above, ok := compare(b, c); err == nil && ok && above > 0 {
			err = invalid("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
		}
		below, okAC := compare(a, c)
		return ok && order >= 0 && okC && okAC && below <= 0, err
	}
	return false, invalid("Syntax error in an expression at %q", operator)
}

// update changes an item: SET attribute = value, ADD attribute number, REMOVE
// attribute.
func update(text string, it item, n *names) error {
	p := newParser(text, n)
	for p.at < len(p.tokens) {
		clause := strings.ToUpper(p.peek())
		p.at++
		for more := true; more; more = p.take(",") {
			if err := p.change(clause, it); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *parser) change(clause string, it item) error {
	name, err := p.attribute()
	if err != nil {
		return err
	}
	switch clause {
	case "REMOVE":
		delete(it, name)
		return nil
	case "SET":
		if err := p.expect("="); err != nil {
			return err
		}
		v, ok, err := p.operand(it)
		if err == nil && !ok {
			err = invalid("The provided expression refers to an attribute that does not exist in the item")
		}
		it[name] = v
		return err
	case "ADD":
		v, _, err := p.operand(it)
		if err != nil {
			return err
		}
		sum, err := whole(v)
		if err != nil {
			return err
		}
		if had, ok := it[name]; ok {
			n, err := whole(had)
			if err != nil {
				return err
			}
			sum.Add(sum, n)
		}
		text := sum.String()
		it[name] = value{N: &text}
		return nil
	}
	return invalid("Syntax error in an update expression at %q", clause)
}

func invalid(format string, args ...any) error {
	return &failure{kind: "ValidationException", Message: fmt.Sprintf(format, args...)}
}
