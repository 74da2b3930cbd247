package api

import (
	"github.com/castlecloud/exchange"
)

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

// reasonCodes are the codes of what the engine, or the check before it, says.
// They are part of the API: never rename one.
var reasonCodes = map[exchange.Reason]string{
	exchange.InvalidKind: "invalid_kind", exchange.UnknownInstrument: "unknown_instrument", exchange.UnknownAccount: "unknown_account",
	exchange.UnknownAsset: "unknown_asset", exchange.UnknownOrder: "unknown_order", exchange.StaleCommand: "stale_command",
	exchange.TimeBackwards: "time_backwards", exchange.InvalidTime: "invalid_time", exchange.InvalidSide: "invalid_side",
	exchange.InvalidOrderType: "invalid_type", exchange.InvalidTimeInForce: "invalid_time_in_force",
	exchange.InvalidSelfTrade: "invalid_self_trade_prevention", exchange.InvalidPostOnly: "invalid_post_only",
	exchange.InvalidHidden: "invalid_hidden", exchange.InvalidExpire: "invalid_expire_time", exchange.InvalidPrice: "invalid_price",
	exchange.InvalidStopPrice: "invalid_stop_price", exchange.InvalidQty: "invalid_size", exchange.InvalidDisplayQty: "invalid_display_size",
	exchange.InvalidMinQty: "invalid_min_size", exchange.InvalidFunds: "invalid_funds", exchange.InvalidHeld: "invalid_held",
	exchange.InvalidLimit: "invalid_limit", exchange.InvalidValue: "invalid_value", exchange.InvalidFee: "invalid_fee",
	exchange.InvalidState: "invalid_state", exchange.PriceBelowMin: "price_below_min", exchange.PriceAboveMax: "price_above_max",
	exchange.QtyBelowMin: "size_below_min", exchange.QtyAboveMax: "size_above_max", exchange.NotionalBelowMin: "notional_below_min",
	exchange.NotionalAboveMax: "notional_above_max", exchange.IcebergParts: "iceberg_parts", exchange.OutsideCollar: "outside_collar",
	exchange.NoReferencePrice: "no_reference_price", exchange.WorstPriceRequired: "worst_price_required",
	exchange.InsufficientFunds: "insufficient_funds", exchange.MaxOpenOrders: "max_open_orders", exchange.MaxPosition: "max_position",
	exchange.MessageRate: "message_rate", exchange.AccountNotActive: "account_not_active",
	exchange.InstrumentNotTrading: "instrument_not_trading", exchange.KillSwitchEngaged: "kill_switch_engaged",
	exchange.PostOnlyWouldTake: "post_only_would_take", exchange.NothingToAmend: "nothing_to_amend", exchange.BookFull: "book_full",
	exchange.TooManyAccounts: "too_many_accounts", exchange.AmountOverflow: "amount_overflow", exchange.FundsNotKept: "funds_not_kept",
	exchange.OffTick: "off_tick", exchange.OffLot: "off_lot", exchange.OffScale: "off_scale", exchange.OutOfRange: "out_of_range",
	exchange.InvalidNumber: "invalid_number", exchange.DuplicateCommand: "duplicate_command", exchange.Voided: "voided",
	exchange.InvalidID: "invalid_id",

	exchange.ByRequest: "requested", exchange.ByReplace: "replaced", exchange.ByMassCancel: "mass_cancel",
	exchange.ByKillSwitch: "kill_switch", exchange.ByReduce: "reduced", exchange.ByAmend: "amended_to_nothing",
	exchange.ImmediateRemainder: "immediate_remainder", exchange.FillOrKill: "fill_or_kill", exchange.MinQtyNotMet: "min_size_not_met",
	exchange.NoLiquidity: "no_liquidity", exchange.FundsExhausted: "funds_exhausted", exchange.BySelfTrade: "self_trade_prevention",
	exchange.PostOnlyOnTrigger: "post_only_on_trigger", exchange.ByExpire: "expired", exchange.ByEndOfDay: "end_of_day",
}

// Code returns the code of a reason, "" for 0.
func Code(r exchange.Reason) string {
	switch code, ok := reasonCodes[r]; {
	case ok:
		return code
	case r == 0:
		return ""
	}
	return "refused" // a check of the user's own
}
