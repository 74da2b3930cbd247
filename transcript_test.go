package exchange_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
)

// Transcripts: the files in testdata hold commands and, indented below each,
// the events it gives. Lines that begin with # are comments; one that begins
// with rule ids or "known failure", a colon and a title starts a scenario,
// which has an engine of its own. transcript_text_test.go has the words.

var rewrite = flag.Bool("rewrite", false, "rewrite the expected output in testdata/*.txt; then read the difference")

const transcriptIndent = "    "

var scenarioTitle = regexp.MustCompile(`^# ((?:[A-Z]+-\d{3}, )*[A-Z]+-\d{3}|known failure[^:]*): .+`)

func TestTranscript(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(text), "# "), "%s says at its beginning what it is about", file)
			tr := parseTranscript(t, string(text))
			for _, sc := range tr.scenarios {
				t.Run(strings.TrimPrefix(sc.title, "# "), func(t *testing.T) { sc.play(t, file) })
			}
			if *rewrite && !t.Failed() {
				require.NoError(t, os.WriteFile(file, []byte(tr.text()), 0o644))
			}
		})
	}
}

// A transcript is a text of comments and scenarios.
type transcript struct {
	parts     []part
	scenarios []*scenario
}

// A part is a line as it stands, or a step.
type part struct {
	line string
	step *step
}

type scenario struct {
	title string
	steps []*step
}

// A step is a command and what it prints.
type step struct {
	line    int
	command string
	want    []string
	got     []string
}

func parseTranscript(t *testing.T, text string) *transcript {
	tr := &transcript{}
	var sc *scenario
	var last *step
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case line == "" || line[0] == '#':
			if scenarioTitle.MatchString(line) {
				sc, last = &scenario{title: line}, nil
				tr.scenarios = append(tr.scenarios, sc)
			}
			tr.parts = append(tr.parts, part{line: line})
		case line[0] == ' ':
			require.NotNil(t, last, "line %d: output without a command", i+1)
			last.want = append(last.want, strings.TrimPrefix(line, transcriptIndent))
		default:
			require.NotNil(t, sc, "line %d: a command without a scenario", i+1)
			last = &step{line: i + 1, command: line}
			sc.steps = append(sc.steps, last)
			tr.parts = append(tr.parts, part{line, last})
		}
	}
	return tr
}

// text returns the transcript with what its steps printed.
func (tr *transcript) text() string {
	var b strings.Builder
	for _, p := range tr.parts {
		b.WriteString(p.line + "\n")
		if p.step != nil {
			for _, out := range p.step.got {
				b.WriteString(transcriptIndent + out + "\n")
			}
		}
	}
	return b.String()
}

func (sc *scenario) play(t *testing.T, file string) {
	s := newStage(t, nil)
	for _, st := range sc.steps {
		st.got = s.run(st.command)
		if !*rewrite {
			require.Equal(t, st.want, st.got, "%s:%d: %s", file, st.line, st.command)
		}
	}
}

// stage is where a scenario plays.
type stage struct {
	t        *testing.T
	options  []string
	engine   *exchange.Engine  // nil for a Matcher
	matcher  *exchange.Matcher // nil for an Engine
	accounts map[exchange.AccountID]bool
	seq      map[exchange.InstrumentID]uint64
	events   []exchange.Event
	deposits [4]exchange.Amount // less withdrawals, by asset
}

func newStage(t *testing.T, options []string) *stage {
	s := &stage{t: t, options: options, accounts: map[exchange.AccountID]bool{0: true}, seq: map[exchange.InstrumentID]uint64{}}
	s.make()
	return s
}

func (s *stage) make() {
	cfg, alone := stageConfig(s.t, s.options)
	if alone {
		s.matcher = newMatcher(s.t, cfg.Instruments[0],
			exchange.MatcherConfig{DedupSpan: cfg.DedupSpan, DedupCount: cfg.DedupCount, MaxOrders: cfg.MaxOrders})
		return
	}
	var err error
	s.engine, err = exchange.NewEngine(cfg)
	require.NoError(s.t, err)
}

// run plays one line and returns what it prints.
func (s *stage) run(line string) []string {
	words := strings.Fields(line)
	switch words[0] {
	case "engine", "matcher":
		*s = *newStage(s.t, words)
		return nil
	case "restore":
		return s.restore()
	}
	if out, ok := s.show(words); ok {
		return out
	}
	cmd, err := parseCommand(words)
	require.NoError(s.t, err, line)
	return s.apply(&cmd)
}

// apply applies a command and checks what holds for every event (EVENT-003),
// every book (MATCH-010) and all funds (FUNDS-010), so that nobody has to read
// it.
func (s *stage) apply(cmd *exchange.Command) (out []string) {
	before := s.clock()
	if s.matcher != nil {
		s.events = s.matcher.Apply(s.events[:0], cmd)
	} else {
		s.events = s.engine.Apply(s.events[:0], cmd)
	}
	require.NotEmpty(s.t, s.events, "CMD-004")
	s.accounts[cmd.Account] = true
	for i := range s.events {
		ev := s.events[i]
		require.Equal(s.t, cmd.Kind, ev.Command)
		require.Equal(s.t, s.clock(), ev.Time)
		if ev.Kind == exchange.EventDuplicate {
			require.Zero(s.t, ev.Seq)
			require.Equal(s.t, before, s.clock(), "DEDUP-001")
		} else {
			s.seq[ev.Instrument]++
			require.Equal(s.t, s.seq[ev.Instrument], ev.Seq, "EVENT-003")
		}
		out = append(out, describe(ev))
	}
	s.invariants()
	return out
}

func (s *stage) invariants() {
	for id := exchange.InstrumentID(1); s.book(id) != nil; id++ {
		bids, asks := s.book(id).Orders(nil, exchange.Buy, 1), s.book(id).Orders(nil, exchange.Sell, 1)
		if len(bids) > 0 && len(asks) > 0 {
			require.Less(s.t, bids[0].Price, asks[0].Price, "MATCH-010")
		}
	}
	if s.engine == nil {
		return
	}
	for _, ev := range s.events {
		switch ev.Kind {
		case exchange.EventDeposited:
			s.deposits[ev.Asset] += ev.Amount
		case exchange.EventWithdrawn:
			s.deposits[ev.Asset] -= ev.Amount
		}
	}
	for asset := range s.deposits {
		var total exchange.Amount
		for acct := range s.accounts {
			have := s.engine.Balance(acct, exchange.AssetID(asset))
			total += have.Available + have.Held
		}
		require.Equal(s.t, s.deposits[asset], total, "FUNDS-010: asset %d", asset)
	}
}

// restore goes on with an engine made from a snapshot of the old one.
func (s *stage) restore() []string {
	if s.matcher != nil {
		data, hash := s.matcher.AppendSnapshot(nil), s.matcher.Hash()
		s.make()
		require.NoError(s.t, s.matcher.Restore(data))
		require.Equal(s.t, hash, s.matcher.Hash())
	} else {
		data, hash := s.engine.AppendSnapshot(nil), s.engine.Hash()
		s.make()
		require.NoError(s.t, s.engine.Restore(data))
		require.Equal(s.t, hash, s.engine.Hash())
	}
	return []string{fmt.Sprintf("same hash, clock %d", s.clock())}
}

func (s *stage) clock() exchange.Time {
	if s.matcher != nil {
		return s.matcher.Clock()
	}
	return s.engine.Clock()
}

func (s *stage) book(id exchange.InstrumentID) *exchange.Book {
	if s.matcher != nil {
		if id != 1 {
			return nil
		}
		return s.matcher.Book()
	}
	return s.engine.Book(id)
}
