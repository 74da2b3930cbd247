package pipeline

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/castlecloud/exchange"
)

// ErrPanicked says that applying a command failed by a panic, and so did
// voiding it: the instrument stops until somebody has looked.
var ErrPanicked = errors.New("applying a command panicked")

// panicFrames is how many callers of a panic are kept.
const panicFrames = 8

// applyPanic is a panic in Apply, without anything of the command in it.
type applyPanic struct {
	what   string // a runtime error's text, else the type of what was thrown
	frames []string
}

func (p *applyPanic) Error() string {
	return fmt.Sprintf("%v: %s at %s", ErrPanicked, p.what, strings.Join(p.frames, " < "))
}

func (p *applyPanic) Unwrap() error { return ErrPanicked }

// applyCommand is Apply that returns a panic as an *applyPanic; then the engine
// is of no further use.
func applyCommand(e *exchange.Engine, dst []exchange.Event, cmd *exchange.Command) (events []exchange.Event, err error) {
	defer func() {
		if v := recover(); v != nil {
			events, err = dst, newApplyPanic(v)
		}
	}()
	return e.Apply(dst, cmd), nil
}

func newApplyPanic(v any) *applyPanic {
	p := &applyPanic{what: fmt.Sprintf("%T", v)}
	if err, ok := v.(runtime.Error); ok {
		p.what = err.Error()
	}
	var callers [4 * panicFrames]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	for more := true; more && len(p.frames) < panicFrames; {
		var f runtime.Frame
		if f, more = frames.Next(); f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			p.frames = append(p.frames, f.Function[strings.LastIndexByte(f.Function, '/')+1:]+":"+strconv.Itoa(f.Line))
		}
	}
	return p
}
