// Package sns is the pipeline's Publisher on SNS, and the consumer's end of it
// in SQS.
//
//	publisher, err := sns.NewPublisher(client, sns.Config{TopicARN: arn})
//
// A message tells which items of an instrument's journal were committed, and
// carries their events as JSON (Message), as many items as fit into one. What
// does not fit is referred to by its positions. The services of this module
// need no more than the positions: they read the journal, which is the truth;
// the events are for others. Attributes (AttributeInstrument and so on) are for
// filter policies; a service of this module must hear of everything, so its
// subscription has none, or one on the instrument.
//
// The default is a FIFO topic with a FIFO queue for each consumer, an instrument
// being a message group: one at a time works on an instrument, and its pushes
// keep their order. A standard topic works, also straight to a Lambda function:
// then two work on an instrument at once, the later of them finds everything
// done, and what each pushes may overtake the other. A Lambda function on the
// consumer's queue uses HandleEvent, one on a standard topic OfSNS, a process
// that stays NewNotices.
//
// # What it relies on
//
// Of SNS: what Publish has confirmed reaches every queue that is subscribed, at
// least once; of a FIFO topic in the order of each group. Deduplication is not
// relied on: publishing again is meant to tell again. Of whoever makes topic and
// queues: a policy on each queue that lets the topic send; raw message delivery
// or not, both are read; a retention longer than any outage. The permissions:
// sns:Publish; sqs:ReceiveMessage and sqs:DeleteMessage for consumers. A notice
// that is lost in spite of all costs time, not truth: the Sweeper wakes a
// consumer that is behind.
//
// # What the suite cannot prove
//
// It runs against fauxqs, which delivers at once and in order, on both kinds of
// topic, and filters no String.Array. Redelivery, the order of a standard topic, and the order of a FIFO
// topic under load are AWS's; live_test.go, under the build tag live, runs the
// suite against topics of an account.
package sns
