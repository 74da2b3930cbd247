// Package standin starts, on loopback, the programs that stand in for services
// of AWS in tests and in the local cloud: Redis for ElastiCache, PostgreSQL for
// Aurora, DynamoDB Local for DynamoDB, fauxqs for SQS and SNS.
//
//	redis := standin.ForTest(t, standin.Redis)
//	client := goredis.NewClient(&goredis.Options{Addr: redis.Addr})
//
// Each start takes a directory, which gets the log NAME.log and the program's
// data, picks a free port, and returns when the program answers. `make
// services` installs the programs: from Debian's packages, and fauxqs, a Node
// to run it and DynamoDB Local in the folder .services of the repository, which
// is looked for from the working directory upwards, or where
// EXCHANGE_SERVICES says. Where one is missing the error matches ErrMissing and
// names it.
//
// They stand in for wire formats, never for promises: what only AWS can prove
// is listed by each adapter and tested under the build tag live. PostgreSQL
// keeps its data over Stop, Kill and Restart; Redis, DynamoDB Local and fauxqs
// keep theirs in memory and come back empty.
//
// DynamoDB Local is licensed for use, not for redistribution (LICENSE.txt
// beside it): nothing of this repository ships it.
package standin
