package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// handler serves the Runtime API, at a path of its own for each environment,
// and the Invoke API.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{env}"+apiVersion+"/invocation/next", s.runtimeNext)
	mux.HandleFunc("POST /{env}"+apiVersion+"/invocation/{id}/response", s.runtimeResponse)
	mux.HandleFunc("POST /{env}"+apiVersion+"/invocation/{id}/error", s.runtimeError)
	mux.HandleFunc("POST /{env}"+apiVersion+"/init/error", s.runtimeInitError)
	mux.HandleFunc("POST /2015-03-31/functions/{name}/invocations", s.invokeAPI)
	return mux
}

func (s *Server) environment(w http.ResponseWriter, r *http.Request) *environment {
	s.mu.Lock()
	e := s.envs[r.PathValue("env")]
	s.mu.Unlock()
	if e == nil {
		http.Error(w, "there is no such environment", http.StatusForbidden)
	}
	return e
}

// runtimeNext hands out the next event. It waits for one.
func (s *Server) runtimeNext(w http.ResponseWriter, r *http.Request) {
	e := s.environment(w, r)
	if e == nil {
		return
	}
	e.mu.Lock()
	if !e.ready {
		e.ready = true
		close(e.asked)
	}
	e.mu.Unlock()
	select {
	case inv := <-e.next:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:local:000000000000:function:"+e.fn.Name)
		_, _ = w.Write(inv.event)
		close(inv.taken)
	case <-r.Context().Done():
	case <-s.ctx.Done():
		w.WriteHeader(http.StatusGone)
	}
}

// current returns what an environment works on, if it is that.
func (e *environment) current(id string) *invocation {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.now == nil || e.now.id != id {
		return nil
	}
	return e.now
}

func (s *Server) runtimeResponse(w http.ResponseWriter, r *http.Request) {
	s.answered(w, r, func(e *environment, inv *invocation, body []byte) { inv.finish(body, nil) })
}

func (s *Server) runtimeError(w http.ResponseWriter, r *http.Request) {
	s.answered(w, r, func(e *environment, inv *invocation, body []byte) {
		inv.finish(nil, functionError(e.fn.Name, body))
	})
}

func functionError(name string, body []byte) *FunctionError {
	var said struct{ ErrorMessage, ErrorType string }
	if err := json.Unmarshal(body, &said); err != nil {
		said.ErrorMessage, said.ErrorType = string(body[:min(len(body), 200)]), "Unknown"
	}
	return &FunctionError{name, said.ErrorType, said.ErrorMessage}
}

func (s *Server) answered(w http.ResponseWriter, r *http.Request, take func(e *environment, inv *invocation, body []byte)) {
	e := s.environment(w, r)
	if e == nil {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxPayload))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	inv := e.current(r.PathValue("id"))
	if inv == nil {
		http.Error(w, "it works on no such invocation", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	take(e, inv, body)
}

func (s *Server) runtimeInitError(w http.ResponseWriter, r *http.Request) {
	e := s.environment(w, r)
	if e == nil {
		return
	}
	body, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxPayload))
	e.mu.Lock()
	e.init = functionError(e.fn.Name, body).Message
	e.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

// invokeAPI is the part of Lambda's API that the SDK's Invoke speaks. An
// invocation of type Event is accepted and run later, as InvokeAsync does.
func (s *Server) invokeAPI(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, kind, message string) {
		w.Header().Set("X-Amzn-Errortype", kind)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"Type": "User", "Message": message})
	}
	name := r.PathValue("name")
	if i := strings.LastIndex(name, ":function:"); i >= 0 {
		name = name[i+len(":function:"):]
	}
	event, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxPayload))
	if err != nil {
		refuse(http.StatusRequestEntityTooLarge, "RequestTooLargeException", err.Error())
		return
	}
	if len(event) == 0 {
		event = []byte("{}")
	}
	if r.Header.Get("X-Amz-Invocation-Type") == "Event" {
		if err := s.InvokeAsync(name, event, Retry{}); err != nil {
			refuse(http.StatusNotFound, "ResourceNotFoundException", err.Error())
			return
		}
		w.WriteHeader(http.StatusAccepted)
		return
	}
	answer, err := s.Invoke(r.Context(), name, event)
	var failed *FunctionError
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	case errors.As(err, &failed):
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"errorMessage": failed.Message, "errorType": failed.Type})
	case errors.Is(err, ErrUnknown):
		refuse(http.StatusNotFound, "ResourceNotFoundException", err.Error())
	case errors.Is(err, ErrThrottled):
		refuse(http.StatusTooManyRequests, "TooManyRequestsException", err.Error())
	default:
		refuse(http.StatusInternalServerError, "ServiceException", err.Error())
	}
}

// Retry says what becomes of an asynchronous invocation that failed for good:
// three times, or as often as it was throttled until it was too old.
type Retry struct {
	Dead func(event []byte, err error) // an on-failure destination; nil: it is gone
}

// AWS waits one minute and then two before it runs an event again, and keeps
// trying for six hours while it is throttled; here it is a thousandth of that,
// and a sixtieth.
const (
	asyncRetries  = 2
	asyncPause    = time.Minute / 1000    // times the number of failures
	asyncThrottle = 20 * time.Millisecond // between two tries while throttled
	asyncAge      = 6 * time.Minute
)

// InvokeAsync takes an event and runs the function on it later, in any order
// with others. Errors: ErrUnknown, ErrClosed, ErrThrottled when MaxAsync wait.
func (s *Server) InvokeAsync(name string, event []byte, retry Retry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.functions[name] == nil:
		return fmt.Errorf("%w: %q", ErrUnknown, name)
	case s.waiting.Add(1) > MaxAsync:
		s.waiting.Add(-1)
		return fmt.Errorf("%w: %d asynchronous invocations wait", ErrThrottled, MaxAsync)
	}
	s.async.Go(func() {
		defer s.waiting.Add(-1)
		ctx, cancel := context.WithTimeout(s.ctx, asyncAge)
		defer cancel()
		var err error
		for failures := 0; failures <= asyncRetries; {
			if _, err = s.Invoke(ctx, name, event); err == nil || ctx.Err() != nil {
				break
			}
			pause := asyncThrottle
			if !errors.Is(err, ErrThrottled) {
				failures++
				pause = time.Duration(failures) * asyncPause
			}
			if wait(ctx, pause) != nil {
				break
			}
		}
		if err != nil && retry.Dead != nil && s.ctx.Err() == nil {
			retry.Dead(event, err)
		}
	})
	return nil
}
