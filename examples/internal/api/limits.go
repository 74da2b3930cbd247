package api

import (
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"golang.org/x/time/rate"
)

// MaxBuckets is how many accounts' rates are told apart at a time. Those above
// it share one bucket until others fall idle.
const MaxBuckets = 10_000

// limiter bounds the rate of each account. Account 0 stands for all who have
// none.
type limiter struct {
	rate    float64
	now     func() time.Time
	mu      sync.Mutex
	buckets map[exchange.AccountID]*rate.Limiter
	shared  *rate.Limiter
}

func newLimiter(perSecond float64, now func() time.Time) *limiter {
	l := &limiter{rate: perSecond, now: now, buckets: map[exchange.AccountID]*rate.Limiter{}}
	l.shared = l.bucket(perSecond)
	l.buckets[0] = l.bucket(AnonymousRate * perSecond)
	return l
}

func (l *limiter) bucket(perSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(2*perSecond)))
}

func (l *limiter) allow(acct exchange.AccountID) bool {
	now := l.now()
	l.mu.Lock()
	b := l.buckets[acct]
	if b == nil && len(l.buckets) >= MaxBuckets {
		for id, old := range l.buckets { // a full bucket is as good as a new one
			if id != 0 && old.TokensAt(now) >= float64(old.Burst()) {
				delete(l.buckets, id)
			}
		}
	}
	switch {
	case b != nil:
	case len(l.buckets) < MaxBuckets:
		b = l.bucket(l.rate)
		l.buckets[acct] = b
	default:
		b = l.shared
	}
	l.mu.Unlock()
	return b.AllowN(now, 1)
}
