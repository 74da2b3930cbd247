package plainbody_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/plainbody"
)

type seen func(*http.Request)

func (f seen) Do(req *http.Request) (*http.Response, error) { f(req); return nil, nil }

func TestClient(t *testing.T) {
	for _, body := range []io.Reader{strings.NewReader("text"), http.NoBody, nil} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1", body)
		require.NoError(t, err)
		_, _ = plainbody.Client(seen(func(req *http.Request) {
			if body == nil {
				require.Nil(t, req.Body)
				return
			}
			if body == http.NoBody {
				require.Equal(t, http.NoBody, req.Body)
				return
			}
			require.NotImplements(t, (*io.WriterTo)(nil), req.Body)
			text, err := io.ReadAll(req.Body)
			require.NoError(t, err)
			require.Equal(t, "text", string(text))
		})).Do(req)
	}
}
