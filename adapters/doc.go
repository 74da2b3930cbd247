// Package adapters is the root of the module that connects the exchange to the
// outside: files, queues, databases, object stores and sockets, on one machine
// and on AWS, each in a package of its own, so that nobody compiles what he does
// not use. Package pipeline of the root module has the ports.
//
//	bolt, files         one machine: a journal, balances, trades and an archive on disk
//	dynamodb            Journal and Balances
//	sqs                 CommandQueue
//	sns                 Publisher
//	redis               BookStore
//	aurora              TradeStore; sharded spreads one over several
//	eventbridge         EventBus
//	s3, parquet         Archive, and its trades for analysts
//	apigateway          Pusher to the clients of an API Gateway WebSocket API
//	cloudwatch          Metrics
//	standin             what stands in for the services of AWS in tests and locally
package adapters
