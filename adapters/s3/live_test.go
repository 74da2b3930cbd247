//go:build live

package s3_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/s3"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// The suite on a real bucket, named by EXCHANGE_LIVE_BUCKET, below the prefix
// exchange-live/. Nothing is deleted: let a lifecycle rule do it.
//
//	EXCHANGE_LIVE_BUCKET=my-bucket go test -tags live -run Live ./adapters/s3
func liveArchive(t testing.TB, prefix string) *s3.Archive {
	bucket := os.Getenv("EXCHANGE_LIVE_BUCKET")
	require.NotEmpty(t, bucket, "EXCHANGE_LIVE_BUCKET names a bucket to write to")
	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	a, err := s3.NewArchive(awss3.NewFromConfig(cfg), s3.Config{Bucket: bucket, Prefix: prefix})
	require.NoError(t, err)
	return a
}

func TestLiveArchive(t *testing.T) {
	exchangetest.TestArchive(t, func(t testing.TB) pipeline.Archive { return liveArchive(t, "exchange-live/"+rand.Text()+"/") })
}

// Of many that write at the same moment, from clients of their own, one wins,
// and what was written is listed and read at once.
func TestLivePutsAtOnce(t *testing.T) {
	prefix := "exchange-live/" + rand.Text() + "/"
	for round := range 20 {
		name := fmt.Sprint("race/", round)
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			a := liveArchive(t, prefix)
			wg.Go(func() { errs[i] = a.Put(t.Context(), name, fmt.Append(nil, i)) })
		}
		wg.Wait()
		won := -1
		for i, err := range errs {
			if err == nil {
				require.Equal(t, -1, won, "two have won")
				won = i
			} else {
				require.ErrorIs(t, err, pipeline.ErrConflict)
			}
		}
		require.NotEqual(t, -1, won)
		a := liveArchive(t, prefix)
		got, err := a.Get(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(won), string(got))
		names, err := a.List(t.Context(), name, "", 1)
		require.NoError(t, err)
		require.Equal(t, []string{name}, names)
	}
}
