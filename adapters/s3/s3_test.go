package s3_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange/adapters/s3"
	"github.com/castlecloud/exchange/exchangetest"
	"github.com/castlecloud/exchange/pipeline"
)

// bucket is S3 in this process, with one bucket.
type bucket struct {
	server *httptest.Server
	client *awss3.Client

	mu    sync.Mutex
	fault func(r *http.Request, serve func(http.ResponseWriter), w http.ResponseWriter) bool // true: answered
}

func newBucket(t testing.TB) *bucket {
	b := &bucket{}
	fake := gofakes3.New(s3mem.New()).Server()
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		fault := b.fault
		b.mu.Unlock()
		if fault == nil || !fault(r, func(w http.ResponseWriter) { fake.ServeHTTP(w, r) }, w) {
			fake.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(b.server.Close)
	b.client = awss3.New(awss3.Options{BaseEndpoint: aws.String(b.server.URL), UsePathStyle: true, Region: "eu-central-1",
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	_, err := b.client.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String("archive")})
	require.NoError(t, err)
	return b
}

func (b *bucket) open(t testing.TB, prefix string) *s3.Archive {
	a, err := s3.NewArchive(b.client, s3.Config{Bucket: "archive", Prefix: prefix})
	require.NoError(t, err)
	return a
}

func TestArchive(t *testing.T) {
	exchangetest.TestArchive(t, func(t testing.TB) pipeline.Archive { return newBucket(t).open(t, "venue/one/") })
}

func TestDurableArchive(t *testing.T) {
	var buckets sync.Map
	exchangetest.TestDurableArchive(t, exchangetest.Durable[pipeline.Archive]{
		Open: func(t testing.TB) pipeline.Archive {
			b := newBucket(t)
			a := b.open(t, "")
			buckets.Store(a, b)
			return a
		},
		Reopen: func(t testing.TB, p pipeline.Archive) pipeline.Archive {
			b, _ := buckets.Load(p)
			a := b.(*bucket).open(t, "")
			buckets.Store(a, b)
			return a
		},
	})
}

// A put whose answer is lost is tried again by the client, which finds what it
// wrote; one that S3 cannot decide is tried again.
func TestPutIsTriedAgain(t *testing.T) {
	ctx := context.Background()
	b := newBucket(t)
	a := b.open(t, "")
	var puts atomic.Int64
	for name, fault := range map[string]func(serve func(http.ResponseWriter), w http.ResponseWriter){
		"answer lost": func(serve func(http.ResponseWriter), w http.ResponseWriter) {
			serve(httptest.NewRecorder())
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"undecided": func(_ func(http.ResponseWriter), w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `<Error><Code>ConditionalRequestConflict</Code><Message>another is under way</Message></Error>`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			puts.Store(0)
			b.mu.Lock()
			b.fault = func(r *http.Request, serve func(http.ResponseWriter), w http.ResponseWriter) bool {
				if r.Method != http.MethodPut {
					return false
				}
				assert.Equal(t, "*", r.Header.Get("If-None-Match"))
				if puts.Add(1) > 1 {
					return false
				}
				fault(serve, w)
				return true
			}
			b.mu.Unlock()
			object := "dir/" + strings.ReplaceAll(name, " ", "-")
			require.NoError(t, a.Put(ctx, object, []byte("data")))
			assert.EqualValues(t, 2, puts.Load())
			got, err := a.Get(ctx, object)
			require.NoError(t, err)
			assert.Equal(t, "data", string(got))
			assert.ErrorIs(t, a.Put(ctx, object, []byte("dato")), pipeline.ErrConflict)
		})
	}
}

// What another program wrote, without the hash, is compared byte by byte.
func TestObjectsOfOthers(t *testing.T) {
	ctx := context.Background()
	b := newBucket(t)
	a := b.open(t, "x/")
	_, err := b.client.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("archive"), Key: aws.String("x/there"), Body: strings.NewReader("data")})
	require.NoError(t, err)
	require.NoError(t, a.Put(ctx, "there", []byte("data")))
	assert.ErrorIs(t, a.Put(ctx, "there", []byte("dato")), pipeline.ErrConflict)
	assert.ErrorIs(t, a.Put(ctx, "there", []byte("dat")), pipeline.ErrConflict)
	_, err = b.client.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("archive"), Key: aws.String("y"), Body: strings.NewReader("data")})
	require.NoError(t, err)
	names, err := a.List(ctx, "", "", 10)
	require.NoError(t, err)
	assert.Equal(t, []string{"there"}, names, "only what is below the prefix")
}

// A store that fails is told, and is no missing object and no conflict.
func TestFailures(t *testing.T) {
	ctx := context.Background()
	b := newBucket(t)
	a := b.open(t, "")
	require.NoError(t, a.Put(ctx, "there", []byte("data")))
	for _, code := range []string{"AccessDenied", "NoSuchBucket"} {
		b.mu.Lock()
		b.fault = func(_ *http.Request, _ func(http.ResponseWriter), w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `<Error><Code>%s</Code><Message>no</Message></Error>`, code)
			return true
		}
		b.mu.Unlock()
		_, err := a.Get(ctx, "there")
		require.ErrorContains(t, err, code)
		assert.NotErrorIs(t, err, pipeline.ErrNotFound)
		err = a.Put(ctx, "there", []byte("other"))
		require.ErrorContains(t, err, code)
		assert.NotErrorIs(t, err, pipeline.ErrConflict)
		_, err = a.List(ctx, "", "", 1)
		assert.ErrorContains(t, err, code)
	}
	// An object that ends too early is no object.
	b.mu.Lock()
	b.fault = func(r *http.Request, _ func(http.ResponseWriter), w http.ResponseWriter) bool {
		w.Header().Set("Content-Length", "9")
		_, _ = w.Write([]byte("data"))
		return true
	}
	b.mu.Unlock()
	_, err := a.Get(ctx, "there")
	assert.ErrorContains(t, err, "4 of 9 bytes")
}

func TestConfig(t *testing.T) {
	b := newBucket(t)
	for _, cfg := range []s3.Config{{}, {Bucket: "b", Prefix: "/a"}, {Bucket: "b", Prefix: "a//"}, {Bucket: "b", Prefix: "a b/"}, {Bucket: "b", Prefix: "../"}, {Bucket: "b", Prefix: "/"},
		{Bucket: "b", Prefix: strings.Repeat("x", s3.MaxPrefixBytes+1)}} {
		_, err := s3.NewArchive(b.client, cfg)
		assert.ErrorIs(t, err, pipeline.ErrInvalid, "%+v", cfg)
	}
	_, err := s3.NewArchive(nil, s3.Config{Bucket: "b"})
	assert.ErrorIs(t, err, pipeline.ErrInvalid)
	_, err = s3.NewArchive(b.client, s3.Config{Bucket: "b", Prefix: strings.Repeat("x/", 100)})
	assert.NoError(t, err)
}
