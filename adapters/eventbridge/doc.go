// Package eventbridge is the pipeline's EventBus on EventBridge.
//
//	bus, err := eventbridge.NewBus(client, eventbridge.Config{BusName: "exchange"})
//
// A request is one event: source Source, detail type DetailType, its detail the
// request as JSON (pipeline.EncodeRequest). Pattern is the pattern of the rule
// whose target is the order-processor, which reads the event with Decode; a
// function that fails is invoked again by the platform.
//
// # What it relies on
//
// Of EventBridge: an entry that PutEvents has taken reaches the rule's target,
// at least once, in any order, and is tried again for 24 hours. Nothing else: a
// request's key makes a repetition harmless, and its Time, which was given at
// the edge, is kept. Of whoever makes the rule: Pattern, one target, a
// dead-letter queue on the target for what 24 hours were not enough for; and
// of the function's asynchronous invocation the same (it tries twice again, for
// up to six hours). The permission: events:PutEvents on the bus.
//
// # What the suite cannot prove
//
// It runs against package standin/eventbus over HTTP, which takes and refuses
// entries in EventBridge's format, repeats, reorders and tries again. That
// EventBridge loses nothing, and how long it takes, is AWS's; live_test.go,
// under the build tag live, runs the suite over a bus, a rule and a queue of an
// account.
package eventbridge
