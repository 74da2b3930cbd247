package wire

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// tokenLasts is how long a token may be used to connect, the most that RDS and
// ElastiCache take. A connection that was made with it stays.
const tokenLasts = 15 * time.Minute

// emptyHash is the SHA-256 of no body.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// databaseToken returns the password with which the role may connect to RDS or
// an RDS Proxy at host:port as user: a request that is signed and never sent.
// Amazon RDS User Guide, "IAM database authentication".
func databaseToken(ctx context.Context, c aws.Config, hostPort, user string, now time.Time) (string, error) {
	return signedToken(ctx, c, "rds-db", hostPort, url.Values{"Action": {"connect"}, "DBUser": {user}}, now)
}

// cacheToken returns the password with which the role may connect to the
// ElastiCache replication group of that name as user. Amazon ElastiCache User
// Guide, "Authenticating with IAM".
func cacheToken(ctx context.Context, c aws.Config, cache, user string, now time.Time) (string, error) {
	return signedToken(ctx, c, "elasticache", cache, url.Values{"Action": {"connect"}, "User": {user}}, now)
}

func signedToken(ctx context.Context, c aws.Config, service, host string, query url.Values, now time.Time) (string, error) {
	if c.Credentials == nil {
		return "", fmt.Errorf("signing in to %s: no credentials of a role", service)
	}
	creds, err := c.Credentials.Retrieve(ctx)
	if err != nil {
		return "", fmt.Errorf("signing in to %s: %w", service, err)
	}
	query.Set("X-Amz-Expires", fmt.Sprint(int(tokenLasts.Seconds())))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/?"+query.Encode(), nil)
	if err != nil {
		return "", fmt.Errorf("signing in to %s: %w", service, err)
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, creds, req, emptyHash, service, c.Region, now)
	if err != nil {
		return "", fmt.Errorf("signing in to %s: %w", service, err)
	}
	return strings.TrimPrefix(signed, "https://"), nil
}
