package dynamodb

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/castlecloud/exchange/adapters/internal/rows"
)

type item = map[string]types.AttributeValue

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func bin(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }

// num and unum are exact: DynamoDB's numbers have 38 decimal digits, and the
// SDK carries them as text.
func num[T ~int64](n T) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(int64(n), 10)}
}

func unum[T ~uint8 | ~uint32 | ~uint64](n T) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatUint(uint64(n), 10)}
}

// set adds what is not zero: an attribute that is absent reads as zero, and
// takes no room.
func set[T ~int64](it item, name string, n T) {
	if n != 0 {
		it[name] = num(n)
	}
}

func setU[T ~uint8 | ~uint32 | ~uint64](it item, name string, n T) {
	if n != 0 {
		it[name] = unum(n)
	}
}

func setBool(it item, name string, v bool) {
	if v {
		it[name] = &types.AttributeValueMemberBOOL{Value: true}
	}
}

// fields reads an item. After the first fault it gives zeros.
type fields struct {
	item
	err error
}

func (f *fields) fault(name string, err error) {
	if f.err == nil {
		f.err = fmt.Errorf("attribute %s: %w", name, errors.Join(rows.ErrDamaged, err))
	}
}

func (f *fields) digits(name string) string {
	switch v := f.item[name].(type) {
	case nil:
		return "0"
	case *types.AttributeValueMemberN:
		return v.Value
	}
	f.fault(name, nil)
	return "0"
}

func (f *fields) int(name string) int64 {
	n, err := strconv.ParseInt(f.digits(name), 10, 64)
	if err != nil {
		f.fault(name, err)
	}
	return n
}

func (f *fields) uint(name string, bits int) uint64 {
	n, err := strconv.ParseUint(f.digits(name), 10, bits)
	if err != nil {
		f.fault(name, err)
	}
	return n
}

func (f *fields) bool(name string) bool {
	switch v := f.item[name].(type) {
	case nil:
		return false
	case *types.AttributeValueMemberBOOL:
		return v.Value
	}
	f.fault(name, nil)
	return false
}

// bytes returns the bytes of an attribute, which are the caller's.
func (f *fields) bytes(name string) []byte {
	switch v := f.item[name].(type) {
	case nil:
		return nil
	case *types.AttributeValueMemberB:
		return v.Value
	}
	f.fault(name, nil)
	return nil
}

func (f *fields) text(name string) string {
	switch v := f.item[name].(type) {
	case nil:
		return ""
	case *types.AttributeValueMemberS:
		return v.Value
	}
	f.fault(name, nil)
	return ""
}

// exactly reads bytes of a fixed length.
func (f *fields) exactly(name string, dst []byte) {
	b := f.bytes(name)
	if len(b) != len(dst) {
		f.fault(name, fmt.Errorf("%d bytes, expected %d", len(b), len(dst)))
		return
	}
	copy(dst, b)
}
