// Package dynamodb keeps a venue's journal with its snapshots, and its balances,
// in two tables of Amazon DynamoDB.
//
//	client := dynamodb.NewFromConfig(cfg) // of aws-sdk-go-v2
//	journal, err := exchangedynamodb.NewJournal(client, exchangedynamodb.JournalConfig{Table: "journal", Objects: archive})
//	balances, err := exchangedynamodb.NewBalances(client, exchangedynamodb.BalancesConfig{Table: "balances"})
//
// Any number of processes may work on one table. Give the client an HTTP client
// that keeps connections: MaxIdleConnsPerHost is 10 unless set, and one call
// may have MaxParallel requests on their way.
//
// # The journal
//
// An instrument has one partition. An item of up to MaxInline bytes is one item
// of the table, written together with the head in a transaction whose condition
// is the head before: of two writers one wins, the other gets ErrFenced, however
// long it slept. A transaction and not one conditional put, because the put
// could only look at its own place, which is free again once it was trimmed.
// Items of up to 32 KiB of several instruments that one process appends at the
// same time share one such transaction; when it fails, each goes by itself.
// Longer items are written in parts, each in a partition of its own, which
// nobody reads, and then committed by the same transaction, which names them.
// Before the first part a note of the upload is written; Trim removes what the
// notes up to its position name, so that nothing is left of a writer that died.
//
// A partition takes 1,000 write units a second; a unit is a KB, and a
// transaction takes two. A batch of n KB therefore takes 2n + 2, the published
// mark included: an instrument journals at most some 450 KB a second, or 250
// batches of up to 1 KB. Parts count for other partitions. More batches than that are throttled, which only
// delays; put more orders into a batch instead, as the MatchingEngine does by
// itself when it falls behind.
//
// Snapshots above MaxInline go to JournalConfig.Objects (S3), or into parts. The
// pointer to the newest moves under a condition on its position; a reader whose
// snapshot is replaced and removed under its hands reads the pointer again. All
// reads are strongly consistent.
//
// # The balances
//
// An account is one item with all its balances, limits and counts, and the last
// position it took of each instrument. A change of it is a transaction with
// whatever belongs to it, under one of two conditions: that the item is as it
// was read (a revision), or, for additions, that what is added to suffices (so
// that a hold and a settlement of one account do not get in each other's way).
// What was read of a hold or transfer is a condition, too. Refusals are worked
// out here, from consistent reads, and a hold or transfer is looked for once
// more before one is told. So checks and changes are one step, and all numbers
// are exact (64 bits of DynamoDB's 38 digits).
//
// A hold that nothing speaks against is one request, without a read: an id that
// is not known, an account without limits, funds that suffice are its conditions.
// When one fails the hold is worked out from reads. Holds placed at the same time
// go into one transaction, up to 25 of them.
//
// Settle books what a journal item does to accounts, holds, fees and position in
// one transaction after one read; SettleAll several items, as many as name no
// more than 99 items of the table. What is larger, or has met others three
// times, is booked account by account, 16 at a time (several transactions above
// 99 holds of one account), and last of all the fees together with the position,
// which lie in one item per instrument: no item takes every trade. Fees have no
// other writer, so the condition on the position is what makes them count once.
//
// Deposits and withdrawals share one item per asset, the total, which bounds
// them to some 500 a second an asset.
//
// Placed reads a local secondary index of the holds, strongly consistent: a
// global one would be late. That costs a bound of 10 GB for each of the 64
// partitions of holds, ended ones included until they are forgotten, and 64,000
// write units a second in all; a hold's life takes about eight.
//
// # What is remembered
//
// Ended holds and transfers carry a time to live. They live an hour longer than
// BalancesConfig says they are remembered, and what is older than that and not
// known is refused as StaleCommand, so that no clock within an hour of AWS's
// brings a forgotten one back. Times of commands and BalancesConfig.Now must
// tell the same time. Open holds, accounts, totals, fees and spanning commands
// stay for good, the latter at 300 bytes each; AWS does not bound how many.
//
// # Errors and tries
//
// Reasons of a canceled transaction are told apart: a condition that failed
// means that somebody else was here, so the call reads again and decides anew; a
// conflict or throttling means that nothing was written, so it tries again,
// later and at a random time, at most MaxTries times (then ErrContended); a
// validation error or an item collection that is full is final. After an answer
// that was lost a call reads what has become of its try, by its id, at most
// MaxDoubts times. A transaction's token makes the client's own tries harmless,
// for ten minutes; what makes a call count once at any later time is always a
// condition on an item, never the token.
//
// # The tables
//
// Terraform makes them; CreateTables does for tests. Both have PartitionKey and
// SortKey, strings; the balances also PlacedIndex and a time to live on
// TTLAttribute. An attribute that is absent reads as zero.
//
//	journal:
//	journal#INSTRUMENT  head                   p position, h hash, m published, as of the last append
//	                    published              p
//	                    trimmed                p up to where nothing is read, g up to where it is gone
//	                    snapshot               p, h, and size with one of: d data; parts, upload; objects
//	                    item#POSITION          h, w writing, and size with one of: d data; parts, upload
//	                    upload#item#POSITION#ID, upload#snapshot#POSITION#ID  n parts
//	part#INSTRUMENT#ID#N  part                 d
//
//	balances:
//	account#ID          account                r revision, v version, a#ASSET available, h#ASSET held, s#INSTRUMENT settled, ...
//	hold#BUCKET         ID#ACCOUNT             r, state, remaining, ..., placed (while it is), ttl (once it has ended)
//	transfer#ID         transfer               account, asset, amount, time, withdrawal, ttl
//	total#ASSET         total                  n deposits less withdrawals
//	venue#INSTRUMENT    venue                  p settled, a#ASSET fees
//	span#ID             span                   command, serial, done
//	spanning            SERIAL                 command that waits to be sent
//	                    counter                r, serial, pending
//
// # What it relies on AWS for
//
// That transactions are all or nothing and serializable against each other, that
// reads asked to be strongly consistent are, also after a failover, and that
// nothing confirmed is lost. That the time to live never deletes early. That a
// token is known for ten minutes. DynamoDB Local, on which the suites run, has
// one copy on one machine: it shows the wire format, conditions, transactions and
// their reasons, and numbers. It cannot show consistency across replicas, the
// limits of throughput and of item collections, throttling, or when what has
// expired goes; throttling and lost answers are made by the tests, at the HTTP
// connection. Under the build tag live the suites run against AWS.
package dynamodb
