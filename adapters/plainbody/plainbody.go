// Package plainbody keeps a client of the AWS SDK from losing answers.
//
// The SDK closes a request's body when the answer begins. Its body has a
// WriteTo, which returns io.EOF once it is closed (smithy-go v1.28.8, package
// transport/http/internal/io), where a WriteTo returns nil at the end. When the
// service answers quickly, net/http looks for more of the body after that, takes
// the EOF for a failure, and closes the connection, in the middle of the answer.
// The SDK then calls again; but the messages of a lost answer of ReceiveMessage
// are hidden until their visibility ends. A body without WriteTo ends as it
// should.
package plainbody

import (
	"io"
	"net/http"
)

// Doer is the HTTPClient of the SDK.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Client returns one that sends bodies without WriteTo.
func Client(inner Doer) Doer { return client{inner} }

type client struct{ inner Doer }

func (c client) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = plain{req.Body}
	}
	return c.inner.Do(req)
}

type plain struct{ io.ReadCloser }
