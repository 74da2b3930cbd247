// Package apigateway is a pipeline.Pusher for clients that are connected to an
// API Gateway WebSocket API, and the other half of the conversation: what they
// ask for.
//
// # The parts
//
//	client ── API Gateway ── Sessions ────────── Table <──────────────┐
//	                           │ SnapshotRequest                      │
//	                           v                                      │
//	      MarketData, Settler ── Pusher ── Sender (queue) ── Deliverer ── API Gateway ── clients
//
// Each of them knows one thing:
//
//   - Sessions is called for $connect, $disconnect and each message of a
//     client. It keeps the Table of connections and what they subscribed to,
//     and returns the answer, which the route sends back. A subscription asks
//     for a snapshot: a SnapshotRequest, which the process that runs MarketData
//     answers with Pusher.Answer, so that the snapshot comes in its place among
//     the updates.
//   - Pusher makes queue messages (Envelope) of what is pushed. It knows no
//     connection and posts nothing, so it may run in a VPC without a way out.
//   - Deliverer takes queue messages, finds who has subscribed, and calls
//     PostToConnection: for many connections at the same time, for each of them
//     in order. It must reach the @connections of the API, which no interface
//     endpoint of a VPC offers.
//   - Direct is a Sender that needs no queue: it hands over to a Deliverer of
//     the same process. SQS is the one with a queue.
//
// The Deliverer remembers who has subscribed, and asks the Table with each
// delivery, in one request, whether that still holds: each topic has a version,
// which rises before a client is told that it has subscribed. A topic that has
// no version has nobody, and so the Settler learns, in one request for an item,
// whose balances nobody wants to hear of.
//
// The protocol is that of the local venue (feed.go and feedsession.go of
// package pipeline), with these differences: there is no resuming, a
// subscription always begins with a snapshot; a message that is longer than a
// frame comes as FeedParts; a heartbeat comes when Sweep runs, and tells no
// sequences: what cannot be delivered closes the connection.
//
// # What becomes of a slow or lost client
//
// Nobody waits for one. Of messages that wait together the Deliverer makes one
// of each channel (levels, candles and orders as they are in the end, all
// trades and fills); of ticker and balances the last one counts. A connection
// that does not take a message within DelivererConfig.Timeout, or is throttled
// for so long because its buffer is full, is closed with DeleteConnection; the
// client comes back and begins with snapshots. One that is gone (410) is
// removed. A connection leaves the Table only when API Gateway has said that
// it is gone or closed, so nobody is left connected and in silence.
//
// # What this relies on AWS for
//
// The FIFO queue keeps the order of a group (an instrument) and has one batch
// of it in flight; with a standard queue clients see gaps and subscribe again.
// PostToConnection delivers what one caller posts to a connection one after the
// other in that order. API Gateway calls $disconnect for most connections that
// end; for the others 410, Sweep, and the time to live of the table's items.
//
// Quotas of API Gateway: frames of 32 KB, messages of 128 KB; the documentation
// wants messages of @connections in frames, too, so nothing longer than
// FrameBytes is posted. A connection ends after 2 hours, or 10 minutes without
// a message; clients come back by themselves, and ping.
//
// # What the suite does not prove here
//
// It runs against package standin/websocket, which speaks the management API
// over real WebSockets. It cannot show how API Gateway orders two posts, when it
// answers 429 rather than waiting, or how long a connection that has broken off
// takes posts before it answers 410. The tests of these carry the build tag
// live.
package apigateway
