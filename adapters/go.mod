module github.com/castlecloud/exchange/adapters

go 1.25.0

require (
	github.com/castlecloud/exchange v0.1.0
	github.com/stretchr/testify v1.12.1
	pgregory.net/rapid v1.3.0
)

require (
	github.com/shopspring/decimal v1.6.0 // indirect
	github.com/tidwall/btree v1.8.2 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace github.com/castlecloud/exchange => ../
