package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

func canceled(codes ...string) error {
	err := &types.TransactionCanceledException{}
	for _, code := range codes {
		err.CancellationReasons = append(err.CancellationReasons, types.CancellationReason{Code: aws.String(code)})
	}
	return operation(err)
}

func operation(err error) error {
	return &smithy.OperationError{ServiceID: "DynamoDB", OperationName: "TransactWriteItems", Err: err}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		err  error
		want verdict
	}{
		{canceled("None", "ConditionalCheckFailed"), contended},
		{canceled("TransactionConflict", "None"), contended},
		{canceled("ThrottlingError", "None"), contended},
		{canceled("ProvisionedThroughputExceeded", "ConditionalCheckFailed"), contended},
		{canceled("ValidationError", "None"), final},
		{canceled("ConditionalCheckFailed", "ItemCollectionSizeLimitExceeded"), final},
		{operation(&types.ConditionalCheckFailedException{}), contended},
		{operation(&types.TransactionConflictException{}), contended},
		{operation(&types.TransactionInProgressException{}), contended},
		{operation(&types.ProvisionedThroughputExceededException{}), contended},
		{operation(&types.RequestLimitExceeded{}), contended},
		{operation(&types.ThrottlingException{}), contended},
		{operation(&types.InternalServerError{}), doubtful},
		{operation(errors.New("connection reset by peer")), doubtful},
		{operation(&types.ResourceNotFoundException{}), final},
		{operation(&types.IdempotentParameterMismatchException{}), final},
		{operation(&smithy.GenericAPIError{Code: "ValidationException", Fault: smithy.FaultClient}), final},
		{operation(&smithy.GenericAPIError{Code: "AccessDeniedException", Fault: smithy.FaultClient}), final},
		{operation(&smithy.GenericAPIError{Code: "ServiceUnavailable", Fault: smithy.FaultServer}), doubtful},
		{operation(context.DeadlineExceeded), final},
		{context.Canceled, final},
		{errAgain, contended},
		{pipeline.ErrInvalid, final},
		{exchange.InsufficientFunds, final},
	} {
		require.Equal(t, c.want, judge(c.err), "%v", c.err)
	}
	require.True(t, failed(canceled("None", "ConditionalCheckFailed"), 1))
	require.False(t, failed(canceled("None", "ConditionalCheckFailed"), 0))
	require.False(t, failed(canceled("TransactionConflict"), 0))
	require.False(t, failed(canceled("None"), 1), "fewer reasons than items")
}

// How often a call is tried, and for how long, is bounded.
func TestRetryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := func(err error) (tries int, took time.Duration, got error) {
			began := time.Now()
			got = retry(t.Context(), func() error { tries++; return err })
			return tries, time.Since(began), got
		}
		tries, took, err := run(canceled("TransactionConflict"))
		require.Equal(t, MaxTries, tries)
		require.ErrorIs(t, err, ErrContended)
		var cause *types.TransactionCanceledException
		require.ErrorAs(t, err, &cause)
		require.Less(t, took, MaxTries*retryMost)
		require.Greater(t, took, (MaxTries-10)*retryMost/2)

		tries, took, err = run(operation(errors.New("connection reset")))
		require.Equal(t, MaxDoubts, tries)
		require.ErrorContains(t, err, "connection reset")
		require.NotErrorIs(t, err, ErrContended)
		require.Less(t, took, 4*retryFirst)

		tries, _, err = run(exchange.InsufficientFunds)
		require.Equal(t, 1, tries)
		require.ErrorIs(t, err, exchange.InsufficientFunds)

		ctx, cancel := context.WithTimeout(t.Context(), retryMost)
		defer cancel()
		require.ErrorIs(t, retry(ctx, func() error { return errAgain }), context.DeadlineExceeded, "the context ends the waiting")
	})
}

// The keys are part of the format: never change them.
func TestKeys(t *testing.T) {
	id := exchange.CommandID{1, 15: 255}
	for want, k := range map[string]key{
		"journal#7 item#00000000000000000012":                           itemKey(7, 12),
		"part#7#abc#3 part":                                             partKey(7, "abc", 3),
		"journal#7 upload#snapshot#00000000000000000012#abc":            uploadKey(7, kindSnapshot, 12, "abc"),
		"account#18446744073709551615 account":                          accountKey(1<<64 - 1),
		"transfer#010000000000000000000000000000ff transfer":            transferKey(&id),
		"total#5 total":                                                 totalKey(5),
		"venue#7 venue":                                                 venueKey(7),
		"span#010000000000000000000000000000ff span":                    spanKey(&id),
		"spanning 00000000000000000012":                                 spanningKey(12),
		"hold#HH 010000000000000000000000000000ff#00000000000000000009": holdKey(9, &id),
		"hold#HH 010000000000000000000000000000ff#18446744073709551615": holdKey(1<<64-1, &id),
	} {
		got := k.partition + " " + k.sort
		if strings.HasPrefix(got, "hold#") {
			require.Regexp(t, "^hold#[0-6][0-9] ", got)
			got = "hold#HH" + got[len("hold#00"):]
		}
		require.Equal(t, want, got)
	}
	require.Equal(t, "hold#31", holdKey(9, &id).partition)
	require.Equal(t, "00000000000000000000#010000000000000000000000000000ff#00000000000000000009", placedKey(-1<<63, 9, &id))
	require.Equal(t, "18446744073709551615#010000000000000000000000000000ff#00000000000000000009", placedKey(1<<63-1, 9, &id))
	// Holds are spread evenly, as those of one account are.
	n := map[string]int{}
	for i := range 64_000 {
		n[holdKey(7, &exchange.CommandID{byte(i), byte(i >> 8)}).partition]++
	}
	require.Len(t, n, holdBuckets)
	for partition, n := range n {
		require.InDelta(t, 1000, n, 200, partition)
	}
	require.Len(t, fmt.Sprint(newToken()), 32)
	require.NotEqual(t, newToken(), newToken())
}
