package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	runtime "github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const patience = 20 * time.Second

// order is what the test's function is told to do.
type order struct {
	Do   string `json:"do"`
	Gate string `json:"gate,omitempty"` // a file: wait until it is gone
}

// TestMain is the function as well: the server runs this binary as a bootstrap.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("BROKEN") != "" {
		os.Exit(3)
	}
	runtime.Start(func(ctx context.Context, o order) (string, error) {
		for o.Gate != "" && ctx.Err() == nil {
			if _, err := os.Stat(o.Gate); err != nil {
				break
			}
			<-time.After(time.Millisecond)
		}
		switch o.Do {
		case "fail":
			return "", errors.New("as told")
		case "panic":
			panic("as told")
		case "exit":
			os.Exit(1)
		}
		return strconv.Itoa(os.Getpid()), ctx.Err()
	})
}

func newServer(t *testing.T, cfg Config, f Function) *Server {
	t.Helper()
	s, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	self, err := os.Executable()
	require.NoError(t, err)
	f.Name, f.Binary = "probe", self
	if f.Concurrency == 0 {
		f.Concurrency = 1
	}
	require.NoError(t, s.Add(f))
	return s
}

func invoke(t *testing.T, s *Server, o order) (string, error) {
	event, err := json.Marshal(o)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := s.Invoke(ctx, "probe", event)
	return string(answer), err
}

func failure(t *testing.T, err error) *FunctionError {
	t.Helper()
	var failed *FunctionError
	require.ErrorAs(t, err, &failed)
	return failed
}

func TestInvoke(t *testing.T) {
	var mu sync.Mutex
	var colds []bool
	s := newServer(t, Config{Done: func(i Invocation) {
		mu.Lock()
		defer mu.Unlock()
		assert.False(t, i.Ended.Before(i.Began))
		colds = append(colds, i.Cold)
	}}, Function{})
	first, err := invoke(t, s, order{})
	require.NoError(t, err)
	again, err := invoke(t, s, order{})
	require.NoError(t, err)
	assert.Equal(t, first, again, "the same process, kept warm")
	_, err = invoke(t, s, order{Do: "fail"})
	assert.Equal(t, &FunctionError{"probe", "errorString", "as told"}, failure(t, err))
	again, err = invoke(t, s, order{})
	require.NoError(t, err)
	assert.Equal(t, first, again, "an error costs no process")
	_, err = invoke(t, s, order{Do: "exit"})
	assert.Equal(t, TypeExit, failure(t, err).Type)
	other, err := invoke(t, s, order{})
	require.NoError(t, err)
	assert.NotEqual(t, first, other, "another process")
	_, err = invoke(t, s, order{Do: "panic"})
	assert.Equal(t, "as told", failure(t, err).Message)
	_, err = s.Invoke(t.Context(), "nobody", nil)
	assert.ErrorIs(t, err, ErrUnknown)
	_, err = s.Invoke(t.Context(), "probe", make([]byte, MaxPayload+1))
	assert.ErrorContains(t, err, "expected at most")
	mu.Lock()
	defer mu.Unlock()
	assert.True(t, colds[0] && !colds[1], "%v", colds)
}

func TestTimeout(t *testing.T) {
	s := newServer(t, Config{}, Function{Timeout: 300 * time.Millisecond})
	gate := t.TempDir() // never goes
	_, err := invoke(t, s, order{Gate: gate})
	failed := failure(t, err)
	// The function sees its deadline shortly before it is killed.
	assert.True(t, failed.Type == TypeTimeout || failed.Message == context.DeadlineExceeded.Error(), "%v", failed)
	// The next one has a process of its own; where everything is slow it may be
	// late as well.
	require.Eventually(t, func() bool {
		_, err := invoke(t, s, order{})
		return err == nil
	}, patience, time.Millisecond)
}

func TestConcurrency(t *testing.T) {
	s := newServer(t, Config{}, Function{Concurrency: 2})
	gate := t.TempDir() + "/gate"
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	answers := make(chan string)
	for range 2 {
		go func() {
			answer, _ := invoke(t, s, order{Gate: gate})
			answers <- answer
		}()
	}
	require.Eventually(t, func() bool { return s.busy("probe") == 2 }, patience, time.Millisecond)
	_, err := invoke(t, s, order{})
	require.ErrorIs(t, err, ErrThrottled)
	assert.NotErrorAs(t, err, new(*FunctionError))
	require.NoError(t, os.Remove(gate))
	one, two := <-answers, <-answers
	assert.NotEmpty(t, one)
	assert.NotEqual(t, one, two)
	assert.Equal(t, 2, s.Environments("probe"))
}

// busy returns how many environments of a function work on something.
func (s *Server) busy(name string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.envs {
		e.mu.Lock()
		if e.fn.Name == name && e.now != nil {
			n++
		}
		e.mu.Unlock()
	}
	return n
}

func TestFaults(t *testing.T) {
	var mu sync.Mutex
	var next Fault
	ran := 0
	s := newServer(t, Config{
		Fault: func(string) Fault {
			mu.Lock()
			defer mu.Unlock()
			return next
		},
		Done: func(Invocation) { mu.Lock(); ran++; mu.Unlock() },
	}, Function{})
	set := func(f Fault) { mu.Lock(); next, ran = f, 0; mu.Unlock() }
	runs := func() int { mu.Lock(); defer mu.Unlock(); return ran }

	set(Fault{Throttle: true})
	_, err := invoke(t, s, order{})
	assert.ErrorIs(t, err, ErrThrottled)
	assert.Zero(t, runs())
	set(Fault{Twice: true})
	_, err = invoke(t, s, order{})
	require.NoError(t, err)
	assert.Equal(t, 2, runs())
	set(Fault{Lose: true})
	_, err = invoke(t, s, order{})
	assert.Equal(t, TypeLost, failure(t, err).Type)
	assert.Equal(t, 1, runs())
	gate := t.TempDir()
	set(Fault{Crash: true})
	_, err = invoke(t, s, order{Gate: gate})
	assert.Equal(t, TypeExit, failure(t, err).Type)
	set(Fault{TimeOut: true})
	_, err = invoke(t, s, order{Gate: gate})
	assert.Equal(t, TypeTimeout, failure(t, err).Type)
	set(Fault{Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Invoke(ctx, "probe", []byte("{}"))
	assert.ErrorIs(t, err, context.Canceled)
	set(Fault{})
	_, err = invoke(t, s, order{})
	require.NoError(t, err)
	assert.Zero(t, s.Kill("probe"), "none of those killed worked on anything")
	require.Eventually(t, func() bool { return s.Environments("probe") == 0 }, patience, time.Millisecond)
}

func TestBroken(t *testing.T) {
	s := newServer(t, Config{}, Function{Env: map[string]string{"BROKEN": "1"}})
	_, err := invoke(t, s, order{})
	assert.Contains(t, failure(t, err).Message, "ended before it asked for an event")
	for _, f := range []Function{{}, {Name: "x"}, {Name: "probe", Binary: os.Args[0], Concurrency: 1}, {Name: "x", Binary: os.Args[0]},
		{Name: "x", Binary: os.Args[0], Concurrency: MaxConcurrency + 1}, {Name: "x", Binary: os.Args[0], Concurrency: 1, Timeout: MaxTimeout + 1}} {
		assert.Error(t, s.Add(f), "%+v", f)
	}
}

// The SDK's client speaks to it.
func TestInvokeAPI(t *testing.T) {
	s := newServer(t, Config{}, Function{})
	c := client.New(client.Options{Region: "us-east-1", BaseEndpoint: aws.String(s.URL()), RetryMaxAttempts: 1, Credentials: aws.AnonymousCredentials{}})
	out, err := c.Invoke(t.Context(), &client.InvokeInput{FunctionName: aws.String("arn:aws:lambda:us-east-1:000000000000:function:probe"), Payload: []byte(`{}`)})
	require.NoError(t, err)
	assert.Nil(t, out.FunctionError)
	assert.Regexp(t, `^"\d+"$`, string(out.Payload))
	out, err = c.Invoke(t.Context(), &client.InvokeInput{FunctionName: aws.String("probe"), Payload: []byte(`{"do":"fail"}`)})
	require.NoError(t, err)
	assert.Equal(t, "Unhandled", aws.ToString(out.FunctionError))
	assert.JSONEq(t, `{"errorMessage":"as told","errorType":"errorString"}`, string(out.Payload))
	_, err = c.Invoke(t.Context(), &client.InvokeInput{FunctionName: aws.String("nobody")})
	assert.ErrorAs(t, err, new(*types.ResourceNotFoundException))
	out, err = c.Invoke(t.Context(), &client.InvokeInput{FunctionName: aws.String("probe"), InvocationType: types.InvocationTypeEvent})
	require.NoError(t, err)
	assert.EqualValues(t, 202, out.StatusCode)
}

// An asynchronous invocation is tried three times, and then somebody else has it.
func TestInvokeAsync(t *testing.T) {
	var mu sync.Mutex
	tries := 0
	s := newServer(t, Config{Done: func(Invocation) { mu.Lock(); tries++; mu.Unlock() }}, Function{})
	dead := make(chan []byte, 1)
	event := []byte(`{"do":"fail"}`)
	require.NoError(t, s.InvokeAsync("probe", event, Retry{Dead: func(event []byte, err error) {
		assert.ErrorContains(t, err, "as told")
		dead <- slices.Clone(event)
	}}))
	select {
	case got := <-dead:
		assert.True(t, bytes.Equal(event, got))
	case <-time.After(patience):
		t.Fatal("nothing was given up")
	}
	mu.Lock()
	assert.Equal(t, 1+asyncRetries, tries)
	mu.Unlock()
	assert.ErrorIs(t, s.InvokeAsync("nobody", nil, Retry{}), ErrUnknown)
}
