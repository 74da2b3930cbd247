module github.com/castlecloud/exchange/examples

go 1.26.0

require (
	github.com/castlecloud/exchange v0.1.0
	github.com/shopspring/decimal v1.6.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	github.com/getkin/kin-openapi v0.153.0 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/prometheus/client_golang v1.25.0 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	github.com/tidwall/btree v1.8.2 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/castlecloud/exchange => ../
