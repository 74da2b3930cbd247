package api

// Codes of errors that are the API's own. They are part of the API: never
// rename one.
const (
	codeInvalidJSON     = "invalid_json"
	codeInvalidField    = "invalid_field"
	codeUnauthorized    = "unauthorized"
	codeTokenExpired    = "token_expired"
	codeForbidden       = "forbidden"
	codeNotFound        = "not_found"
	codeMethod          = "method_not_allowed"
	codeReused          = "duplicate_key"
	codeBodyTooLarge    = "body_too_large"
	codeRateLimited     = "rate_limited"
	codeWrongHost       = "wrong_host"
	codeOverloaded      = "overloaded"
	codeUnavailable     = "unavailable"
	codeTimeout         = "timeout"
	codeInternal        = "internal"
	codeTooManyRequests = "too_many_connections" // the WebSocket's
)

// apiCodes says what each of them means, for the README, and with which status
// it comes.
var apiCodes = []struct {
	code   string
	status int
	means  string
}{
	{codeInvalidJSON, 400, "the body is not one JSON object, or a field has the wrong type or is unknown"},
	{codeInvalidField, 400, "a query parameter, path or header is not what it should be"},
	{codeUnauthorized, 401, "no token, or none of this venue"},
	{codeTokenExpired, 401, "the token has ended"},
	{codeForbidden, 403, "a request of another origin, or a login from elsewhere than loopback"},
	{codeNotFound, 404, "there is no such thing, or it is another account's"},
	{codeMethod, 405, "the path does not have this method"},
	{codeReused, 409, "the client_order_id or Idempotency-Key belongs to another request"},
	{codeBodyTooLarge, 413, "the body is longer than 8 KiB"},
	{codeWrongHost, 421, "the Host header is not the venue's address"},
	{codeRateLimited, 429, "too many requests of the account; see Retry-After"},
	{codeInternal, 500, "a fault of the venue"},
	{codeOverloaded, 503, "no room in a queue now; send it again later"},
	{codeTooManyRequests, 503, "no room for another WebSocket"},
	{codeUnavailable, 503, "what is asked for can not be had now"},
	{codeTimeout, 504, "nobody knows yet what came of the command; send it again with the same key"},
}
