module github.com/castlecloud/exchange/examples

go 1.25.0

require (
	github.com/castlecloud/exchange v0.1.0
	github.com/shopspring/decimal v1.6.0
)

require github.com/tidwall/btree v1.8.2 // indirect

replace github.com/castlecloud/exchange => ../
