// Package sqs is the pipeline's CommandQueue on SQS FIFO queues.
//
//	q, err := sqs.NewQueue(client, sqs.Config{QueueURLs: urls})
//
// A message group is an instrument, so that SQS hands out an instrument's
// commands in order and to one receiver at a time. The deduplication id is the
// command's id, after its instrument's, because a command that spans
// instruments has one id in all of them. The body is the message in base64: SQS
// carries text.
//
// A resident process uses Queue: Send, Receive and Ack, which keep a delivery
// hidden while it is worked on. A Lambda function whose event source is the
// queue uses HandleEvent, which answers with what of each instrument failed:
// the first one and all after it.
//
// # What it relies on
//
// Of SQS: a FIFO queue keeps the order of a group and gives none of it to
// anybody else while some is in flight; a message that was received comes again
// when its visibility ends; the receipt of one that came again is refused; ids
// are remembered for five minutes, so that a Send that is repeated within them
// adds nothing. After five minutes the matching engine's own memory of ids is
// what counts, here as everywhere: SQS spares work, and guards nothing.
//
// Of whoever makes the queue: FifoQueue true; a retention that is longer than
// any outage (14 days); no dead-letter queue: it would take a command out of
// the middle, and the ones after it would be applied without it. Of Lambda's
// event source mapping: ReportBatchItemFailures, a batch of at most 10. The
// permissions: sqs:SendMessage to send; sqs:ReceiveMessage, sqs:DeleteMessage,
// sqs:ChangeMessageVisibility and sqs:GetQueueAttributes to receive.
//
// # What the suite cannot prove
//
// The conformance suite runs against fauxqs, which speaks the wire format, but
// hands out one message of a group at a time and takes the receipts of what has
// expired. So that SQS keeps a group's order when it hands out ten, that it
// refuses a late receipt, its window of five minutes, and how it behaves under
// load and when a zone fails, is AWS's promise; live_test.go, under the build
// tag live, runs the same suite and the first two of these against a queue of
// an account.
package sqs
