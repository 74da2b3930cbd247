// Package redis keeps books as last seen, and depth for readers, in Redis 7 or
// Valkey, one server or a cluster: a pipeline.BookStore. On AWS it is
// ElastiCache.
//
//	client, err := rueidis.NewClient(rueidis.ClientOption{
//		InitAddress: []string{"clustercfg.venue.abc123.use1.cache.amazonaws.com:6379"},
//		TLSConfig:   &tls.Config{MinVersion: tls.VersionTLS12}, // encryption in transit
//		Username:    "venue", Password: secret, // or AuthCredentialsFn, asked for each connection: IAM, a secret that rotates
//	})
//	...
//	defer client.Close()
//	books, err := redis.NewBookStore(client, redis.Config{})
//
// # What it promises
//
// Everything in it is disposable. A flush, a restart, an eviction or a failover
// that loses confirmed writes costs the next matching engine a replay of the
// journal and readers a moment without depth, and nothing else: whoever loads a
// book compares its position and hash with the journal.
//
// A script writes snapshot, position and hash in one step, and only where no
// newer ones are: a writer that is late changes nothing. Depth is written the
// same way, by its Seq. What is in a key but is not of this package, or of a
// later version, is an error (ErrFormat) for readers and writers and stays as it
// is.
//
// Each exchange with the server has Config.Timeout. Past it the call fails, and
// its effect is unknown; every call may be repeated.
//
// # What is kept
//
// All keys of an instrument have its number as their hash tag, so that they
// lie in one slot of a cluster and a script may touch them together:
//
//	exchange:{17}:book          v, pos, hash, size and data, or token and chunks
//	exchange:{17}:book:TOKEN:3  a chunk of 1 MiB
//	exchange:{17}:depth         v, seq, data
//
// A snapshot up to InlineBytes travels in the script. A longer one is written
// first, in chunks under names that nobody knows, which expire after
// ChunkExpiry; the script then makes them permanent, names them, and removes
// those of the book before. So neither Redis' limit of 512 MB a string nor one
// long command stands in the way of a snapshot of pipeline.MaxSnapshotBytes;
// Config.MaxBytes sets a lower bound, for a small cache. During a save the old
// and the new book are there together: allow for twice the size.
//
// A reader who finds the chunks gone because a newer book has come begins
// again, at most loadTries times.
//
// # What it relies on
//
// On ElastiCache it relies on scripts being atomic, on keys with one hash tag
// being in one slot, and on at most one primary taking writes for a slot. The
// scripts name all keys they touch. Replication is asynchronous: a failover may
// bring back an older book, and a client that reads from replicas (rueidis'
// SendToReplicas) may see depth go back. No maxmemory-policy harms it; with
// noeviction a save fails when memory is full. What only ElastiCache can show,
// that its endpoint, its certificates and its AUTH are accepted, and how long a
// failover takes, is tested under the build tag live; the tests here run on a
// redis-server, a cluster of three, and one with TLS and a password.
package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/castlecloud/exchange"
	"github.com/castlecloud/exchange/pipeline"
)

// ErrFormat says that a key holds something that is not of this package, or of
// a later version. It is left alone: remove it by hand.
var ErrFormat = errors.New("not of this format")

// Bounds and times.
const (
	InlineBytes    = 256 << 10        // of a snapshot that is written in one step
	ChunkBytes     = 1 << 20          // of a longer one's parts, but for the last
	ChunkExpiry    = 10 * time.Minute // of the parts of a save that was never finished
	MaxDepthBytes  = 64 << 20         // of an encoded depth; with some 20 bytes a level and an order
	MaxPrefixBytes = 64               // of Config.Prefix
	DefaultPrefix  = "exchange"
	DefaultTimeout = 2 * time.Second

	pipelined = 8  // chunks under way at a time
	saveTries = 64 // others that save the same book at the same time
	loadTries = 8  // newer books that come while one is read
)

// Config are settings of a BookStore. The zero value is fine.
type Config struct {
	// Prefix begins all keys, "": DefaultPrefix. At most MaxPrefixBytes, without
	// braces. Two venues in one Redis have two.
	Prefix string
	// MaxBytes is the longest snapshot that is taken, 0 or at most
	// pipeline.MaxSnapshotBytes; SaveBook returns ErrTooLarge beyond it.
	MaxBytes int
	// Timeout bounds each exchange with the server (at most eight chunks), 0:
	// DefaultTimeout. The client would try again for as long as its context
	// lasts.
	Timeout time.Duration
}

// BookStore is a pipeline.BookStore.
type BookStore struct {
	client rueidis.Client
	cfg    Config
}

// NewBookStore returns a store over a client, which stays the caller's, to
// close after the last call. It does not connect.
func NewBookStore(client rueidis.Client, cfg Config) (*BookStore, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = pipeline.MaxSnapshotBytes
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	switch {
	case client == nil:
		return nil, fmt.Errorf("book store: %w: no client", pipeline.ErrInvalid)
	case len(cfg.Prefix) > MaxPrefixBytes || strings.ContainsAny(cfg.Prefix, "{}"):
		return nil, fmt.Errorf("book store: %w: Prefix %q, expected at most %d bytes without braces", pipeline.ErrInvalid, cfg.Prefix, MaxPrefixBytes)
	case cfg.MaxBytes < 1 || cfg.MaxBytes > pipeline.MaxSnapshotBytes:
		return nil, fmt.Errorf("book store: %w: MaxBytes %d, expected 1 to %d", pipeline.ErrInvalid, cfg.MaxBytes, pipeline.MaxSnapshotBytes)
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("book store: %w: Timeout %v, expected more than 0", pipeline.ErrInvalid, cfg.Timeout)
	}
	return &BookStore{client, cfg}, nil
}

const version = "1" // of the format

// What is older is told by text of one length, because numbers in scripts are
// floats. It is made of digits alone: how Lua sorts other characters is up to
// the server's locale.
func digits(n uint64) string { return fmt.Sprintf("%020d", n) }

func fromDigits(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || digits(n) != s {
		return 0, fmt.Errorf("%w: %.40q is no number of 20 digits", ErrFormat, s)
	}
	return n, nil
}

// key returns the name of what belongs to an instrument.
func (s *BookStore) key(inst exchange.InstrumentID, what string) string {
	return s.cfg.Prefix + ":{" + strconv.FormatUint(uint64(inst), 10) + "}:" + what
}

// chunkKeys returns the names of a book's chunks.
func (s *BookStore) chunkKeys(inst exchange.InstrumentID, token string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = s.key(inst, "book:"+token+":"+strconv.Itoa(i))
	}
	return keys
}

// within bounds one exchange with the server.
func (s *BookStore) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.cfg.Timeout)
}

// do runs one command.
func (s *BookStore) do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	ctx, cancel := s.within(ctx)
	defer cancel()
	return s.client.Do(ctx, cmd)
}

// exec runs a script, which may be repeated, and returns its answer.
func (s *BookStore) exec(ctx context.Context, script *rueidis.Lua, keys, args []string) ([]string, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	return answer(script.Exec(ctx, s.client, keys, args).AsStrSlice())
}

// answer makes a foreign key an ErrFormat.
func answer[T any](v T, err error) (T, error) {
	if e, ok := rueidis.IsRedisErr(err); ok && (strings.HasPrefix(e.Error(), "WRONGTYPE") || strings.HasPrefix(e.Error(), "FORMAT")) {
		return v, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return v, err
}

// isNewer is what both scripts begin with: whether the key has something of
// this format, and something newer. What is not of it is refused.
const isNewer = `
local have = redis.call('HMGET', KEYS[1], 'v', ARGV[1], 'token', 'chunks')
if have[1] or redis.call('EXISTS', KEYS[1]) == 1 then
	if have[1] ~= '` + version + `' or not have[2] or #have[2] ~= 20 or string.find(have[2], '%D') then
		return redis.error_reply('FORMAT ' .. KEYS[1] .. ' holds something else')
	end
	if have[2] > ARGV[2] then
		return {'older'}
	end
end
`

// saveBook takes the name of the position's field, position, hash, size, the
// token of the book before, the new token, how many new chunks there are, and
// the data when there are none; as keys the book, its chunks, and those of the
// book before. When that is another one it says which, and the caller comes
// again with its keys.
var saveBook = rueidis.NewLuaScriptRetryable(isNewer + `
if (have[3] or '') ~= ARGV[5] then
	return {'again', have[3] or '', have[4] or ''}
end
local chunks = tonumber(ARGV[7])
for i = 2, 1 + chunks do
	if redis.call('EXISTS', KEYS[i]) == 0 then
		return {'lost'}
	end
end
for i = 2, 1 + chunks do
	redis.call('PERSIST', KEYS[i])
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'v', '` + version + `', 'pos', ARGV[2], 'hash', ARGV[3], 'size', ARGV[4])
if chunks > 0 then
	redis.call('HSET', KEYS[1], 'token', ARGV[6], 'chunks', ARGV[7])
else
	redis.call('HSET', KEYS[1], 'data', ARGV[8])
end
for i = 2 + chunks, #KEYS do
	redis.call('UNLINK', KEYS[i])
end
return {'saved'}
`)

// generation names the chunks of a book.
type generation struct {
	token  string
	chunks int
}

// SaveBook implements pipeline.BookStore. ErrTooLarge also above
// Config.MaxBytes; ErrFormat when the key holds something else.
func (s *BookStore) SaveBook(ctx context.Context, c pipeline.Committed, data []byte) error {
	if err := c.Check(); err != nil {
		return fmt.Errorf("saving a book: %w", err)
	}
	if err := s.saveBook(ctx, c, data); err != nil {
		return fmt.Errorf("saving the book of instrument %d: %w", c.Instrument(), err)
	}
	return nil
}

func (s *BookStore) saveBook(ctx context.Context, c pipeline.Committed, data []byte) error {
	if len(data) > s.cfg.MaxBytes {
		return fmt.Errorf("%w: %d bytes, expected at most %d", pipeline.ErrTooLarge, len(data), s.cfg.MaxBytes)
	}
	inst, head := c.Instrument(), c.Head()
	var mine, before generation
	inline := ""
	if len(data) <= InlineBytes {
		inline = string(data)
	} else {
		b, err := s.loadHeader(ctx, inst)
		switch {
		case err == nil && b.head.Position > head.Position:
			return nil // spares writing the chunks
		case err == nil:
			before = b.generation
		case !errors.Is(err, pipeline.ErrNotFound):
			return err
		}
		mine = generation{rand.Text(), chunksOf(len(data))}
		if err := s.writeChunks(ctx, s.chunkKeys(inst, mine.token, mine.chunks), data); err != nil {
			return err
		}
	}
	for range saveTries {
		keys := append([]string{s.key(inst, "book")}, s.chunkKeys(inst, mine.token, mine.chunks)...)
		keys = append(keys, s.chunkKeys(inst, before.token, before.chunks)...)
		said, err := s.exec(ctx, saveBook, keys, []string{"pos", digits(uint64(head.Position)), string(head.Hash[:]), strconv.Itoa(len(data)),
			before.token, mine.token, strconv.Itoa(mine.chunks), inline})
		switch {
		case err != nil:
			return err
		case len(said) == 1 && said[0] == "saved":
			return nil
		case len(said) == 1 && said[0] == "older":
			s.dropChunks(ctx, inst, mine)
			return nil
		case len(said) == 1 && said[0] == "lost":
			s.dropChunks(ctx, inst, mine)
			return errors.New("its chunks are gone again: the server has no room, or took too long")
		case len(said) != 3 || said[0] != "again":
			return fmt.Errorf("the script said %q", said)
		case mine.token != "" && said[1] == mine.token:
			return nil // the answer of the time before was lost
		}
		if before, err = readGeneration(said[1], said[2]); err != nil {
			return err
		}
	}
	s.dropChunks(ctx, inst, mine)
	return fmt.Errorf("%d others have saved it meanwhile", saveTries)
}

func chunksOf(size int) int {
	if size <= InlineBytes {
		return 0
	}
	return (size + ChunkBytes - 1) / ChunkBytes
}

// writeChunks writes the parts of data, which nobody knows of yet. They are
// copied: the client may still read them when ctx has ended.
func (s *BookStore) writeChunks(ctx context.Context, keys []string, data []byte) error {
	for group := range slices.Chunk(keys, pipelined) {
		cmds := make([]rueidis.Completed, 0, pipelined)
		for _, key := range group {
			n := min(ChunkBytes, len(data))
			cmds = append(cmds, s.client.B().Set().Key(key).Value(string(data[:n])).Ex(ChunkExpiry).Build().ToRetryable())
			data = data[n:]
		}
		for _, r := range s.doMulti(ctx, cmds) {
			if err := r.Error(); err != nil {
				return fmt.Errorf("writing a chunk: %w", err)
			}
		}
	}
	return nil
}

func (s *BookStore) doMulti(ctx context.Context, cmds []rueidis.Completed) []rueidis.RedisResult {
	ctx, cancel := s.within(ctx)
	defer cancel()
	return s.client.DoMulti(ctx, cmds...)
}

// dropChunks removes chunks that nobody will name. Should it fail, they expire.
func (s *BookStore) dropChunks(ctx context.Context, inst exchange.InstrumentID, g generation) {
	if g.chunks > 0 {
		_ = s.do(ctx, s.client.B().Unlink().Key(s.chunkKeys(inst, g.token, g.chunks)...).Build()).Error()
	}
}

// book is what the key of a book says.
type book struct {
	generation
	head pipeline.Head
	size int
	data []byte // of a book without chunks
}

// readGeneration reads the names of chunks; both texts are empty without any.
func readGeneration(token, chunks string) (generation, error) {
	if token == "" && chunks == "" {
		return generation{}, nil
	}
	n, err := strconv.Atoi(chunks)
	if err != nil || n < 1 || n > chunksOf(pipeline.MaxSnapshotBytes) || len(token) != len(rand.Text()) || strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return generation{}, fmt.Errorf("%w: %.40q chunks named %.40q", ErrFormat, chunks, token)
	}
	return generation{token, n}, nil
}

func (s *BookStore) loadHeader(ctx context.Context, inst exchange.InstrumentID) (b book, err error) {
	f, err := s.fields(ctx, s.key(inst, "book"))
	if err != nil {
		return b, err
	}
	pos, err := fromDigits(f["pos"])
	if err != nil {
		return b, err
	}
	if b.generation, err = readGeneration(f["token"], f["chunks"]); err != nil {
		return b, err
	}
	b.head.Position, b.data = pipeline.Position(pos), []byte(f["data"])
	b.size, err = strconv.Atoi(f["size"])
	switch {
	case copy(b.head.Hash[:], f["hash"]) != len(b.head.Hash) || len(f["hash"]) != len(b.head.Hash):
		return b, fmt.Errorf("%w: a hash of %d bytes, expected %d", ErrFormat, len(f["hash"]), len(b.head.Hash))
	case err != nil || b.size < 0 || b.size > pipeline.MaxSnapshotBytes || b.chunks != chunksOf(b.size) || b.chunks == 0 && len(b.data) != b.size:
		return b, fmt.Errorf("%w: a size of %.40q with %d chunks and %d bytes", ErrFormat, f["size"], b.chunks, len(b.data))
	}
	return b, nil
}

// fields reads a hash of this version; a field that is not there is "".
func (s *BookStore) fields(ctx context.Context, key string) (map[string]string, error) {
	f, err := answer(s.do(ctx, s.client.B().Hgetall().Key(key).Build()).AsStrMap())
	switch {
	case err != nil:
		return nil, err
	case len(f) == 0:
		return nil, pipeline.ErrNotFound
	case f["v"] != version:
		return nil, fmt.Errorf("%w: %s is of version %.40q, this release reads %s", ErrFormat, key, f["v"], version)
	}
	return f, nil
}

// LoadBook implements pipeline.BookStore. ErrNotFound also when the server has
// evicted a part; ErrFormat when the key holds something else.
func (s *BookStore) LoadBook(ctx context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	snap, err := s.loadBook(ctx, inst)
	if err != nil {
		return pipeline.Snapshot{}, fmt.Errorf("book of instrument %d: %w", inst, err)
	}
	return snap, nil
}

func (s *BookStore) loadBook(ctx context.Context, inst exchange.InstrumentID) (pipeline.Snapshot, error) {
	last := ""
	for range loadTries {
		b, err := s.loadHeader(ctx, inst)
		switch {
		case err != nil:
			return pipeline.Snapshot{}, err
		case b.chunks == 0:
			return pipeline.Snapshot{Head: b.head, Data: b.data}, nil
		case b.token == last: // no newer one has come: a part of it was evicted
			return pipeline.Snapshot{}, fmt.Errorf("%w: a chunk is gone", pipeline.ErrNotFound)
		}
		last = b.token
		data, err := s.readChunks(ctx, inst, b)
		if err == nil {
			return pipeline.Snapshot{Head: b.head, Data: data}, nil
		} else if !rueidis.IsRedisNil(err) {
			return pipeline.Snapshot{}, err
		}
	}
	return pipeline.Snapshot{}, fmt.Errorf("%d newer ones came while it was read", loadTries)
}

func (s *BookStore) readChunks(ctx context.Context, inst exchange.InstrumentID, b book) ([]byte, error) {
	var data []byte
	for group := range slices.Chunk(s.chunkKeys(inst, b.token, b.chunks), pipelined) {
		cmds := make([]rueidis.Completed, 0, pipelined)
		for _, key := range group {
			cmds = append(cmds, s.client.B().Get().Key(key).Build())
		}
		for _, r := range s.doMulti(ctx, cmds) {
			chunk, err := answer(r.AsBytes())
			if err != nil {
				return nil, err
			}
			if want := min(ChunkBytes, b.size-len(data)); len(chunk) != want {
				return nil, fmt.Errorf("%w: a chunk of %d bytes, expected %d", ErrFormat, len(chunk), want)
			}
			if data == nil { // only now that something of it is there
				data = make([]byte, 0, b.size)
			}
			data = append(data, chunk...)
		}
	}
	return data, nil
}
