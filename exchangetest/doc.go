// Package exchangetest helps to test what is built on exchange, and exchange
// itself.
package exchangetest
