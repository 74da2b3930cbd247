// Package group merges concurrent calls into groups that are made durable
// together.
package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Bounds of a Committer.
const (
	MaxQueue = 4096 // calls that wait; further ones wait outside, for their context too
	MaxGroup = 4096 // calls of one group
)

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("the store is closed")

// Committer runs functions one after the other, in a goroutine of its own, and
// lets each caller go once what its function did is durable.
type Committer struct {
	commit func() error
	queue  chan *call
	closed chan struct{} // no further calls
	done   chan struct{} // the goroutine has ended
	once   sync.Once

	failure error // of a commit; the goroutine's own until done
}

type call struct {
	run  func() error
	err  error
	done chan struct{}
}

// New starts a Committer. commit makes durable what the functions since the
// last one have done, or does nothing when there is nothing. Once it has failed
// nobody knows what the disk has, and every call fails.
func New(commit func() error) *Committer {
	c := &Committer{
		commit: commit,
		queue:  make(chan *call, MaxQueue),
		closed: make(chan struct{}),
		done:   make(chan struct{}),
	}
	go c.loop()
	return c
}

// Do runs f and returns its error, after everything it did and saw is durable.
// Another error means that nobody knows. An error of f undoes nothing: f checks
// before it changes anything. ctx ends the wait for a place in the queue; from
// then on f runs, so that what it uses is its own until Do returns.
func (c *Committer) Do(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	mine := &call{run: f, done: make(chan struct{})}
	select {
	case <-c.closed:
		return ErrClosed
	default:
	}
	select {
	case c.queue <- mine:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closed:
		return ErrClosed
	}
	select {
	case <-mine.done:
		return mine.err
	case <-c.done:
		// It may have been the last that was served, or come too late.
		select {
		case <-mine.done:
			return mine.err
		default:
			return ErrClosed
		}
	}
}

// Close lets the calls that wait finish, ends the goroutine, and returns what
// made a commit fail, if one did. It may be repeated.
func (c *Committer) Close() error {
	c.once.Do(func() { close(c.closed) })
	<-c.done
	return c.failure
}

func (c *Committer) loop() {
	defer close(c.done)
	group := make([]*call, 0, MaxGroup)
	for {
		select {
		case first := <-c.queue:
			group = append(group[:0], first)
		case <-c.closed:
			// Whoever has a place is served.
			select {
			case first := <-c.queue:
				group = append(group[:0], first)
			default:
				return
			}
		}
	more:
		for len(group) < MaxGroup {
			select {
			case next := <-c.queue:
				group = append(group, next)
			default:
				break more
			}
		}
		c.serve(group)
		clear(group)
	}
}

func (c *Committer) serve(group []*call) {
	if c.failure == nil {
		for _, call := range group {
			call.err = call.run()
		}
		if err := c.commit(); err != nil {
			c.failure = fmt.Errorf("committing, and nothing is taken from now on: %w", err)
		}
	}
	for _, call := range group {
		if c.failure != nil {
			call.err = c.failure
		}
		close(call.done)
	}
}
