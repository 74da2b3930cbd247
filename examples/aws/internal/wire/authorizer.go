package wire

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/castlecloud/exchange/examples/internal/auth"
)

// errUnauthorized is the one error that API Gateway makes a 401 of; it goes by
// the text.
var errUnauthorized = errors.New("Unauthorized")

// AuthorizerEvent is what a REQUEST authorizer is asked, as far as it is looked
// at. ConnectionID is there for a WebSocket alone.
type AuthorizerEvent struct {
	MethodARN             string            `json:"methodArn"`
	Headers               map[string]string `json:"headers"`
	QueryStringParameters map[string]string `json:"queryStringParameters"`
	RequestContext        struct {
		ConnectionID string `json:"connectionId"`
	} `json:"requestContext"`
}

// tokenParameter is where a WebSocket's client puts its token, as a browser
// lets it set no header.
const tokenParameter = "token"

// Authorize is a REQUEST authorizer for both APIs. Of a REST request it finds
// out whose it is, or refuses it; what needs nobody has no authorizer. A
// WebSocket may connect without a token, as nobody, and say who it is later; a
// token that is no good refuses it.
func Authorize(verify func(string) (auth.Identity, error)) func(context.Context, AuthorizerEvent) (events.APIGatewayCustomAuthorizerResponse, error) {
	return func(_ context.Context, ev AuthorizerEvent) (events.APIGatewayCustomAuthorizerResponse, error) {
		token := bearer(ev.Headers)
		connects := ev.RequestContext.ConnectionID != ""
		if token == "" && connects {
			token = ev.QueryStringParameters[tokenParameter]
		}
		if token == "" && connects {
			return allow(ev.MethodARN, "anonymous", nil), nil
		}
		if token == "" {
			return events.APIGatewayCustomAuthorizerResponse{}, errUnauthorized
		}
		id, err := verify(token)
		if err != nil {
			return events.APIGatewayCustomAuthorizerResponse{}, errUnauthorized
		}
		account := strconv.FormatUint(uint64(id.Account), 10)
		return allow(ev.MethodARN, account, map[string]any{
			authorizerAccount: account, authorizerExpires: strconv.FormatInt(id.Expires.Unix(), 10),
		}), nil
	}
}

// bearer returns the token of a request, "" without one. Header names may be in
// any letters.
func bearer(headers map[string]string) string {
	for name, value := range headers {
		if strings.EqualFold(name, "Authorization") {
			if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
				return token
			}
		}
	}
	return ""
}

// allow allows every method of the API's stage, so that an answer may be
// cached for a token whatever it was asked for first.
func allow(arn, principal string, context map[string]any) events.APIGatewayCustomAuthorizerResponse {
	if parts := strings.SplitN(arn, "/", 3); len(parts) > 2 {
		arn = parts[0] + "/" + parts[1] + "/*"
	}
	return events.APIGatewayCustomAuthorizerResponse{PrincipalID: principal, Context: context, PolicyDocument: events.APIGatewayCustomAuthorizerPolicy{
		Version: "2012-10-17", Statement: []events.IAMPolicyStatement{{Action: []string{"execute-api:Invoke"}, Effect: "Allow", Resource: []string{arn}}},
	}}
}
