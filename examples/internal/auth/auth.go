// Package auth makes and checks the bearer tokens of the examples' venues: JWTs
// that carry an account, signed with Ed25519 by a key in the data directory.
// Functions on AWS have the public half of such a key, and check.
package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/golang-jwt/jwt/v5"
)

// Who makes the tokens and for what.
const (
	Issuer   = "exchange-demo"
	Audience = "exchange-api"
)

// MaxTTL is the longest a token may be good for, DefaultTTL what it is when
// nobody says otherwise.
const (
	DefaultTTL = 12 * time.Hour
	MaxTTL     = 30 * 24 * time.Hour
)

// MaxTokenBytes is the length of the longest token that is looked at.
const MaxTokenBytes = 2048

// MaxVerified is how many tokens are remembered as good. A check of a signature
// takes more processor time than everything else that becomes of an order.
const MaxVerified = 4096

var (
	// ErrInvalid says that a token is not one of this venue.
	ErrInvalid = errors.New("invalid token")
	// ErrExpired says that a token has ended.
	ErrExpired = errors.New("token has expired")
)

// Identity is what a valid token says.
type Identity struct {
	Account exchange.AccountID
	Expires time.Time
}

// Keys sign and check tokens. They are safe for concurrent use.
type Keys struct {
	*Verifier
	private ed25519.PrivateKey
}

// Verifier checks tokens, and cannot make any. It is safe for concurrent use.
type Verifier struct {
	public ed25519.PublicKey
	now    func() time.Time
	parser *jwt.Parser

	mu       sync.RWMutex
	verified map[[sha256.Size]byte]Identity // by hash of the token, at most MaxVerified
}

// NewVerifier returns what checks the tokens that the private half of a key
// signs. The key is in base64, as PublicKey gives it.
func NewVerifier(key string, now func() time.Time) (*Verifier, error) {
	public, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("public token key: expected the %d bytes of an Ed25519 key in base64", ed25519.PublicKeySize)
	}
	return &Verifier{public: public, now: now, verified: map[[sha256.Size]byte]Identity{}, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), // whatever the token's header asks for
		jwt.WithIssuer(Issuer), jwt.WithAudience(Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(now),
	)}, nil
}

// PublicKey returns what a Verifier elsewhere needs: no secret.
func (v *Verifier) PublicKey() string { return base64.StdEncoding.EncodeToString(v.public) }

// Load reads the key of a file, or makes one there when it is absent. The
// file must be readable by its owner only.
func Load(path string, now func() time.Time) (*Keys, error) {
	data, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(path); err == nil || errors.Is(err, fs.ErrExist) {
			data, err = readKey(path) // another process may have been first
		}
	}
	if err != nil {
		return nil, fmt.Errorf("token key %s: %w", path, err)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		return nil, fmt.Errorf("token key %s: expected one PEM block PRIVATE KEY", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("token key %s: %w", path, err)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("token key %s: a %T, expected an Ed25519 key", path, parsed)
	}
	verifier, err := NewVerifier(base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey)), now)
	if err != nil {
		return nil, err
	}
	return &Keys{verifier, private}, nil
}

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("its mode is %v, expected a file that only its owner can read (0600)", mode)
	}
	if info.Size() > 4096 {
		return nil, fmt.Errorf("%d bytes, expected at most 4096", info.Size())
	}
	data := make([]byte, info.Size())
	_, err = f.ReadAt(data, 0)
	return data, err
}

// makeKey writes a new key under a temporary name and links it into place, so
// that nobody ever reads half of one and nobody replaces one that is there.
func makeKey(path string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

// Token returns a token of an account that is good for ttl.
func (k *Keys) Token(acct exchange.AccountID, ttl time.Duration) (string, Identity, error) {
	if acct == 0 {
		return "", Identity{}, errors.New("token: account 0 is the venue's own, expected 1 or more")
	}
	if ttl < time.Second || ttl > MaxTTL {
		return "", Identity{}, fmt.Errorf("token: good for %v, expected 1s to %v", ttl, MaxTTL)
	}
	now := k.now()
	id := Identity{Account: acct, Expires: now.Add(ttl).Truncate(time.Second)} // as the token has it
	text, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer: Issuer, Audience: jwt.ClaimStrings{Audience}, Subject: strconv.FormatUint(uint64(acct), 10),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(id.Expires),
	}).SignedString(k.private)
	if err != nil {
		return "", Identity{}, fmt.Errorf("token: %w", err)
	}
	return text, id, nil
}

// Verify returns what a token says: ErrExpired when it has ended, ErrInvalid
// when it is anything but a token of this venue. Neither repeats the token.
func (v *Verifier) Verify(token string) (Identity, error) {
	if len(token) > MaxTokenBytes {
		return Identity{}, ErrInvalid
	}
	key := sha256.Sum256([]byte(token))
	v.mu.RLock()
	id, known := v.verified[key]
	v.mu.RUnlock()
	if known {
		if !v.now().Before(id.Expires) {
			return Identity{}, ErrExpired
		}
		return id, nil
	}
	id, err := v.check(token)
	if err == nil {
		v.mu.Lock()
		if len(v.verified) >= MaxVerified {
			clear(v.verified) // who comes again is checked again
		}
		v.verified[key] = id
		v.mu.Unlock()
	}
	return id, err
}

// check is Verify of a token that was not seen before.
func (v *Verifier) check(token string) (Identity, error) {
	var claims jwt.RegisteredClaims
	_, err := v.parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return v.public, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, ErrExpired
	case err != nil:
		return Identity{}, ErrInvalid
	}
	acct, err := strconv.ParseUint(claims.Subject, 10, 64)
	if err != nil || acct == 0 || strconv.FormatUint(acct, 10) != claims.Subject {
		return Identity{}, ErrInvalid
	}
	return Identity{Account: exchange.AccountID(acct), Expires: claims.ExpiresAt.Time}, nil
}
