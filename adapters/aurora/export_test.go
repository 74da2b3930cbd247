package aurora

// The statements of the queries, to be explained.
var (
	OrdersQuery  = ordersQuery
	TradesQuery  = tradesQuery
	FillsQuery   = fillsQuery
	CandlesQuery = candlesQuery
	ByCommand    = selectOrders + whereCommand + " LIMIT 1"
	ByID         = selectOrders + whereOrder + " LIMIT 1"
	ByClientID   = selectOrders + whereClient + " LIMIT 1"
)

const SchemaVersion = schemaVersion
