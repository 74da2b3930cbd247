// Package exchangetest helps to test what is built on exchange, and exchange
// itself.
//
// # Conformance suites
//
// For every port of package pipeline there is a suite: a slice of named cases
// (JournalCases, BalancesCases ...) and a function that runs them (TestJournal,
// TestBalances ...). A case asks for nothing but what the port's contract says,
// so whatever passes may stand in a venue. An implementation's test is a few
// lines:
//
//	func TestJournal(t *testing.T) {
//		exchangetest.TestJournal(t, func(t testing.TB) pipeline.Journal {
//			return open(t, t.TempDir())
//		})
//	}
//
// Every case opens the port anew and expects it empty. What must survive a
// restart has cases of its own, which also close and open it again
// (TestDurableJournal ...). Run them under the race detector.
//
// # Generators
//
// For property tests with pgregory.net/rapid: Instruments, Orders, Streams and
// Requests draw what a venue gets, HostileCommands, HostileStreams and
// HostileRequests what it should not. See their examples.
package exchangetest
