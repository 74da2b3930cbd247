package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// query is the query of a request, each parameter at most once and none
// unknown, so that nothing a client asked for is dropped in silence.
type query url.Values

func readQuery(r *http.Request, names ...string) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badField("query", "it is not encoded as a query is")
	}
	for name, all := range values {
		if !slices.Contains(names, name) {
			return nil, badField("query", "%.64q: expected no such parameter", name)
		}
		if len(all) > 1 {
			return nil, badField(name, "%d times, expected once", len(all))
		}
	}
	return query(values), nil
}

func (q query) text(name, unset string) string {
	if v := url.Values(q).Get(name); v != "" {
		return v
	}
	return unset
}

// number reads a number from least to most.
func (q query) number(name string, unset, least, most uint64) (uint64, error) {
	text := q.text(name, "")
	if text == "" {
		return unset, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, badField(name, "%.64q: expected %d to %d", text, least, most)
	}
	return n, nil
}

func (q query) limit() (int, error) {
	n, err := q.number("limit", DefaultRows, 1, pipeline.MaxQueryRows)
	return int(n), err
}

// time reads a time in RFC 3339.
func (q query) time(name string) (exchange.Time, error) {
	text := q.text(name, "")
	if text == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1970 || t.Year() > 2261 {
		return 0, badField(name, "%.64q: expected a time such as 2026-01-31T12:00:00Z", text)
	}
	return exchange.Time(t.UnixNano()), nil
}
