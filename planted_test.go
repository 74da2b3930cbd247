package exchange_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/internal/reference"
)

// TestPlantedFaults: a mistake of every kind that others made, planted into
// the reference, is noticed by the random runs that hold the engine against
// it.
func TestPlantedFaults(t *testing.T) {
	const most = 3000 // runs of one fault
	var table strings.Builder
	for _, fault := range reference.Faults() {
		runs := 0
		for found := false; !found && runs < most; runs++ {
			mode := modelModes[runs%len(modelModes)]
			found = faultNoticed(t, mode.mode, mode.alone, uint64(runs+1), fault)
		}
		if runs == most {
			t.Errorf("%s: not noticed in %d runs", fault, runs)
		}
		fmt.Fprintf(&table, "%-26s %4d\n", fault, runs)
	}
	t.Logf("planted fault, runs until it was noticed\n%s", table.String())
}

// faultNoticed reports whether a run differs from the reference with a fault.
func faultNoticed(t *testing.T, mode exchange.Funds, alone bool, seed uint64, fault reference.Fault) (noticed bool) {
	// A faulty reference may come to a state that none of its rules know.
	defer func() {
		if r := recover(); r != nil {
			noticed = true
		}
	}()
	return randomRun(t, mode, alone, seed, 400, fault) != ""
}

// What random commands cannot give, and why.
var unreachableReasons = map[exchange.Reason]string{
	exchange.OffTick:       "at the decimal edge only: TestRefusedNumbers",
	exchange.OffLot:        "at the decimal edge only: TestRefusedNumbers",
	exchange.OffScale:      "at the decimal edge only: TestNewInstrument",
	exchange.OutOfRange:    "at the decimal edge only: TestNewInstrument",
	exchange.InvalidNumber: "at the decimal edge only: TestRefusedNumbers",
	exchange.ReasonUser:    "of a user's own check: ExampleConfig_check",
}

// TestGeneratorReachesAll: over some random runs every kind of command is
// accepted and refused (a void always is), and every kind of event and every
// reason appears.
func TestGeneratorReachesAll(t *testing.T) {
	events, reasons := map[exchange.EventKind]int{}, map[exchange.Reason]int{}
	commands := map[string]int{}
	for _, mode := range modelModes {
		for seed := range uint64(120) {
			r := newRestorable(t, mode.mode, mode.alone)
			var got []exchange.Event
			for _, cmd := range stream(t, rand.New(rand.NewPCG(seed, 1)).IntN, mode.mode, mode.alone, 400) {
				got = r.Apply(got[:0], &cmd)
				_, bad := exchange.Rejected(got)
				commands[fmt.Sprintf("%s, refused: %v", cmd.Kind, bad)]++
				for i := range got {
					events[got[i].Kind]++
					reasons[got[i].Reason]++
				}
			}
		}
	}
	for kind := exchange.CommandKind(1); !strings.HasPrefix(kind.String(), "invalid"); kind++ {
		for _, refused := range []bool{false, true} {
			if of := fmt.Sprintf("%s, refused: %v", kind, refused); commands[of] == 0 && (refused || kind != exchange.KindVoid) {
				t.Errorf("never: %s", of)
			}
		}
	}
	for kind := exchange.EventKind(1); !strings.HasPrefix(kind.String(), "invalid"); kind++ {
		if events[kind] == 0 {
			t.Errorf("no event: %s", kind)
		}
	}
	for reason := exchange.Reason(1); reason <= exchange.ReasonUser; reason++ {
		named := !strings.HasPrefix(reason.String(), "reason ") || reason == exchange.ReasonUser
		switch why := unreachableReasons[reason]; {
		case named && reasons[reason] == 0 && why == "":
			t.Errorf("never: %s", reason)
		case reasons[reason] > 0 && why != "":
			t.Errorf("%s appeared, which is said to be %s", reason, why)
		}
	}
	if t.Failed() {
		t.Logf("%v\n%v\n%v", events, reasons, commands)
	}
}
