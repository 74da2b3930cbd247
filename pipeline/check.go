package pipeline

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/castlecloud/exchange"
)

// Check returns ErrInvalid when s is not what its type promises: accounts,
// assets and holds in rising order, none twice, account 0 not among them; what
// is held changes as its holds do; nothing is made and nothing lost. Every
// Balances checks it before it books anything.
func (s *Settlement) Check() error {
	var all assetSums
	for i := range s.Accounts {
		a := &s.Accounts[i]
		if a.Account == 0 || i > 0 && a.Account <= s.Accounts[i-1].Account {
			return fmt.Errorf("settlement: %w: Accounts[%d] is out of order, expected accounts above 0 in rising order", ErrInvalid, i)
		}
		var held assetSums
		for j := range a.Assets {
			c := &a.Assets[j]
			if j > 0 && c.Asset <= a.Assets[j-1].Asset {
				return fmt.Errorf("settlement: %w: Accounts[%d].Assets[%d] is asset %d, expected one above %d", ErrInvalid, i, j, c.Asset, a.Assets[j-1].Asset)
			}
			all.add(c.Asset, c.Available, 1)
			all.add(c.Asset, c.Held, 1)
			held.add(c.Asset, c.Held, 1)
		}
		for j := range a.Holds {
			h := &a.Holds[j]
			if h.ID == (exchange.CommandID{}) || j > 0 && string(h.ID[:]) <= string(a.Holds[j-1].ID[:]) {
				return fmt.Errorf("settlement: %w: Accounts[%d].Holds[%d] is out of order, expected ids above 0 in rising order", ErrInvalid, i, j)
			}
			held.add(h.Asset, h.Delta, -1)
		}
		for j := range a.Refused {
			id := &a.Refused[j]
			if *id == (exchange.CommandID{}) || j > 0 && string(id[:]) <= string(a.Refused[j-1][:]) {
				return fmt.Errorf("settlement: %w: Accounts[%d].Refused[%d] is out of order, expected ids above 0 in rising order", ErrInvalid, i, j)
			}
			if _, found := slices.BinarySearchFunc(a.Holds, id, func(h HoldChange, id *exchange.CommandID) int { return bytes.Compare(h.ID[:], id[:]) }); found {
				return fmt.Errorf("settlement: %w: Accounts[%d].Refused[%d] is in Holds too, expected it in one of them", ErrInvalid, i, j)
			}
		}
		if asset, ok := held.zero(); !ok {
			return fmt.Errorf("settlement: %w: Accounts[%d] changes what is held of asset %d by another amount than its holds", ErrInvalid, i, asset)
		}
	}
	for i := range s.Fees {
		c := &s.Fees[i]
		if c.Held != 0 || i > 0 && c.Asset <= s.Fees[i-1].Asset {
			return fmt.Errorf("settlement: %w: Fees[%d] has %d held of asset %d, expected 0 and assets in rising order", ErrInvalid, i, c.Held, c.Asset)
		}
		all.add(c.Asset, c.Available, 1)
	}
	if asset, ok := all.zero(); !ok {
		return fmt.Errorf("settlement: %w: the changes of asset %d do not add up to 0", ErrInvalid, asset)
	}
	return nil
}

// assetSums adds amounts up by asset, exactly: in halves of 32 bits, so that
// no sum of 2^31 of them overflows. A settlement has few assets.
type assetSums []struct {
	asset exchange.AssetID
	high  int64
	low   int64
}

func (s *assetSums) add(asset exchange.AssetID, n exchange.Amount, sign int64) {
	high, low := sign*(int64(n)>>32), sign*(int64(n)&(1<<32-1))
	for i := range *s {
		if e := &(*s)[i]; e.asset == asset {
			e.high += high
			e.low += low
			return
		}
	}
	*s = append(*s, struct {
		asset exchange.AssetID
		high  int64
		low   int64
	}{asset, high, low})
}

// zero reports whether every sum is 0, else an asset whose sum is not.
func (s assetSums) zero() (exchange.AssetID, bool) {
	for i := range s {
		e := &s[i]
		if e.low&(1<<32-1) != 0 || e.high+e.low>>32 != 0 {
			return e.asset, false
		}
	}
	return 0, true
}

// CheckObjectName returns ErrInvalid when name is none that an Archive takes.
func CheckObjectName(name string) error {
	if len(name) == 0 || len(name) > MaxNameBytes {
		return fmt.Errorf("%w: an object's name of %d bytes, expected 1 to %d", ErrInvalid, len(name), MaxNameBytes)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%w: object name %q, expected parts other than %q", ErrInvalid, name, part)
		}
		for i := range len(part) {
			switch c := part[i]; {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
			default:
				return fmt.Errorf("%w: object name %q, expected letters, digits, '.', '_', '-' and '/'", ErrInvalid, name)
			}
		}
	}
	return nil
}
