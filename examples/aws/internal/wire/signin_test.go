package wire

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTokens(t *testing.T) {
	c := aws.Config{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", "SESSION")}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, k := range []struct {
		service, host string
		want          url.Values
		token         func(now time.Time) (string, error)
	}{
		{"rds-db", "proxy.example.com:5432", url.Values{"Action": {"connect"}, "DBUser": {"exchange"}},
			func(now time.Time) (string, error) {
				return databaseToken(t.Context(), c, "proxy.example.com:5432", "exchange", now)
			}},
		{"elasticache", "venue", url.Values{"Action": {"connect"}, "User": {"venue-services"}},
			func(now time.Time) (string, error) { return cacheToken(t.Context(), c, "venue", "venue-services", now) }},
	} {
		token, err := k.token(now)
		require.NoError(t, err)
		u, err := url.Parse("https://" + token)
		require.NoError(t, err)
		assert.Equal(t, k.host, u.Host)
		assert.Equal(t, "/", u.Path)
		q := u.Query()
		for name := range k.want {
			assert.Equal(t, k.want.Get(name), q.Get(name), name)
		}
		assert.Equal(t, "900", q.Get("X-Amz-Expires"))
		assert.Equal(t, "20260102T030405Z", q.Get("X-Amz-Date"))
		assert.Equal(t, "AKID/20260102/eu-central-1/"+k.service+"/aws4_request", q.Get("X-Amz-Credential"))
		assert.Equal(t, "SESSION", q.Get("X-Amz-Security-Token"))
		assert.Len(t, q.Get("X-Amz-Signature"), 64)
		assert.NotContains(t, token, "SECRET")
		again, err := k.token(now)
		require.NoError(t, err)
		assert.Equal(t, token, again)
		later, err := k.token(now.Add(time.Minute))
		require.NoError(t, err)
		assert.NotEqual(t, token, later)
	}
	_, err := databaseToken(t.Context(), aws.Config{}, "h:1", "u", now)
	assert.ErrorContains(t, err, "no credentials")
	gone := errors.New("gone")
	c.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return aws.Credentials{}, gone })
	_, err = cacheToken(t.Context(), c, "c", "u", now)
	assert.ErrorIs(t, err, gone)
}

func TestCut(t *testing.T) {
	for raw, want := range map[string][2]string{
		"postgres://u:p@h:5432/d?sslmode=require&iam=true": {"postgres://u:p@h:5432/d?sslmode=require", "true"},
		"rediss://u@h:6379?iam=venue":                      {"rediss://u@h:6379", "venue"},
		"rediss://u@h:6379":                                {"rediss://u@h:6379", ""},
		"postgres://u:p%2C@h/d?b=2&a=1":                    {"postgres://u:p%2C@h/d?b=2&a=1", ""},
	} {
		rest, value, err := cut(raw, iamParameter)
		require.NoError(t, err)
		assert.Equal(t, want, [2]string{rest, value})
	}
	_, _, err := cut("postgres://u:secret@h:port/d", iamParameter)
	assert.EqualError(t, err, "expected a URL")
}
