package pipeline

import "github.com/castlecloud/exchange"

// reasonCodes are part of what clients rely on: never rename one.
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

// ReasonCode returns the code by which clients know a reason, in the feed and in
// the REST API: small letters and underscores. It is "" for 0, and "refused"
// for the reason of a check of the user's own.
func ReasonCode(r exchange.Reason) string {
	switch code, ok := reasonCodes[r]; {
	case ok:
		return code
	case r == 0:
		return ""
	}
	return "refused"
}
