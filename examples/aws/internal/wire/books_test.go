package wire

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/memory"
	"github.com/castlecloud/exchange/pipeline"
)

func TestLazyBooks(t *testing.T) {
	exchangetest.TestBookStore(t, func(testing.TB) pipeline.BookStore {
		return &lazyBooks{now: time.Now, connect: func() (pipeline.BookStore, error) { return memory.NewBookStore(), nil }}
	})

	down, tries, now := errors.New("refused"), 0, time.Unix(0, 0)
	l := &lazyBooks{now: func() time.Time { return now }, connect: func() (pipeline.BookStore, error) {
		if tries++; down != nil {
			return nil, down
		}
		return memory.NewBookStore(), nil
	}}
	c := exchangetest.Commit(t, 7, 1)[0]
	ask := func() []error {
		_, err1 := l.LoadBook(t.Context(), 7)
		_, err2 := l.Depth(t.Context(), 7)
		return []error{err1, err2, l.SaveBook(t.Context(), c, []byte("x")), l.SaveDepth(t.Context(), c, &pipeline.Depth{})}
	}
	for range 3 {
		assert.Equal(t, []error{down, down, down, down}, ask())
	}
	assert.Equal(t, 1, tries, "nobody waits for it with every call")
	was := down
	down, now = nil, now.Add(connectAgain-1)
	assert.Equal(t, []error{was, was, was, was}, ask())
	now = now.Add(1)
	require.NoError(t, l.SaveBook(t.Context(), c, []byte("x")))
	snap, err := l.LoadBook(t.Context(), 7)
	require.NoError(t, err)
	assert.Equal(t, []byte("x"), snap.Data)
	assert.Equal(t, 2, tries)
}
