package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/examples/internal/edge"
	"github.com/castlecloud/exchange/pipeline"
)

// Error is what every answer but 2xx has as its body.
type Error struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Field     string `json:"field,omitempty"`
	CommandID string `json:"command_id,omitempty"` // of a timeout
	status    int
	retry     int // seconds, 0: not said
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func problem(code, format string, args ...any) *Error {
	e := &Error{Code: code, Message: fmt.Sprintf(format, args...), status: http.StatusInternalServerError}
	for i := range apiCodes {
		if apiCodes[i].code == code {
			e.status = apiCodes[i].status
		}
	}
	switch code {
	case codeRateLimited, codeOverloaded, codeUnavailable:
		e.retry = 1
	}
	return e
}

func badField(field, format string, args ...any) *Error {
	e := problem(codeInvalidField, format, args...)
	e.Field = field
	return e
}

// asError turns any error into what the client is told. What is the venue's
// own fault is logged and not told.
func (a *api) asError(r *http.Request, err error) *Error {
	var known *Error
	var field *exchange.FieldError
	var timeout *edge.TimeoutError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &field):
		return &Error{Code: pipeline.ReasonCode(field.Reason), Message: field.Error(), Field: field.Field, status: http.StatusBadRequest}
	case errors.As(err, &timeout):
		e := problem(codeTimeout, "nobody knows yet what came of it: send it again with the same client_order_id or Idempotency-Key")
		e.CommandID = fmt.Sprintf("%x", timeout.Command[:])
		return e
	case errors.Is(err, pipeline.ErrFull):
		return problem(codeOverloaded, "no room in a queue now, send it again later")
	case errors.Is(err, pipeline.ErrNotFound):
		return problem(codeNotFound, "there is no such thing")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return problem(codeUnavailable, "what was asked for can not be had now, ask again later")
	}
	a.cfg.Logger.Error("request", "method", r.Method, "route", r.Pattern, "error", err)
	return problem(codeInternal, "a fault of the venue, which is in its log")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of texts and numbers
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

func writeError(w http.ResponseWriter, e *Error) {
	if e.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.retry))
	}
	if e.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="exchange"`)
	}
	writeJSON(w, e.status, e)
}
