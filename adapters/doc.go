// Package adapters is the root of the module that will connect the exchange
// to the outside: files, queues, databases, object stores and sockets, on one
// machine and on AWS, each in a package of its own.
//
// There is nothing in it yet. The adapters come with a later release; the
// module exists so that its path, its place in the workspace and its release
// tags are settled, and so that none of its future dependencies ever reaches
// those who import only the core, github.com/castlecloud/exchange.
package adapters
