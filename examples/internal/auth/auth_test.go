package auth

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/castlecloud/exchange"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

func newKeys(t *testing.T) (*Keys, *time.Time) {
	t.Helper()
	now := start
	k, err := Load(filepath.Join(t.TempDir(), "token.key"), func() time.Time { return now })
	require.NoError(t, err)
	return k, &now
}

func TestTokenRoundTrip(t *testing.T) {
	k, now := newKeys(t)
	token, made, err := k.Token(7, time.Hour)
	require.NoError(t, err)
	id, err := k.Verify(token)
	require.NoError(t, err)
	assert.EqualValues(t, 7, id.Account)
	assert.True(t, made.Expires.Equal(id.Expires))

	*now = id.Expires.Add(-time.Second)
	_, err = k.Verify(token)
	assert.NoError(t, err, "a second before its end")
	*now = id.Expires
	_, err = k.Verify(token)
	assert.ErrorIs(t, err, ErrExpired, "at its end")
}

func TestTokenRefuses(t *testing.T) {
	k, _ := newKeys(t)
	for _, tc := range []struct {
		name string
		acct uint64
		ttl  time.Duration
		ok   bool
	}{
		{"account 0", 0, time.Hour, false},
		{"too short", 1, time.Second - 1, false},
		{"shortest", 1, time.Second, true},
		{"longest", 1, MaxTTL, true},
		{"too long", 1, MaxTTL + 1, false},
		{"largest account", 1<<64 - 1, time.Hour, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, id, err := k.Token(exchange.AccountID(tc.acct), tc.ttl)
			assert.Equal(t, tc.ok, err == nil, "%v", err)
			if tc.ok {
				assert.EqualValues(t, tc.acct, id.Account)
			}
		})
	}
}

// Whoever can choose a header or the claims, but has not the key, gets nowhere.
func TestVerifyRefuses(t *testing.T) {
	k, _ := newKeys(t)
	other, _ := newKeys(t)
	good, _, err := k.Token(7, time.Hour)
	require.NoError(t, err)
	foreign, _, err := other.Token(7, time.Hour)
	require.NoError(t, err)
	claims := func(change func(c jwt.MapClaims)) string {
		c := jwt.MapClaims{"iss": Issuer, "aud": Audience, "sub": "7", "iat": start.Unix(), "exp": start.Add(time.Hour).Unix()}
		change(c)
		text, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c).SignedString(k.private)
		require.NoError(t, err)
		return text
	}
	_, err = k.Verify(claims(func(jwt.MapClaims) {}))
	require.NoError(t, err, "the token the others are variants of")

	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	none := b64([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
	// The public key, which anybody may have, as the secret of an HMAC.
	hs := b64([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + parts[1]
	mac := hmac.New(sha256.New, []byte(k.private.Public().(ed25519.PublicKey)))
	fmt.Fprint(mac, hs)
	hs += "." + b64(mac.Sum(nil))
	changed := parts[0] + "." + b64([]byte(fmt.Sprintf(`{"iss":%q,"sub":"8","aud":[%q],"exp":%d,"iat":%d}`, Issuer, Audience, start.Add(time.Hour).Unix(), start.Unix()))) + "." + parts[2]
	for name, token := range map[string]string{
		"empty":               "",
		"no token":            "hello",
		"too long":            good + strings.Repeat("x", MaxTokenBytes),
		"alg none":            none,
		"alg HMAC":            hs,
		"another key":         foreign,
		"another account":     changed,
		"no signature":        parts[0] + "." + parts[1] + ".",
		"without exp":         claims(func(c jwt.MapClaims) { delete(c, "exp") }),
		"exp is a text":       claims(func(c jwt.MapClaims) { c["exp"] = "tomorrow" }),
		"another audience":    claims(func(c jwt.MapClaims) { c["aud"] = "else" }),
		"without audience":    claims(func(c jwt.MapClaims) { delete(c, "aud") }),
		"another issuer":      claims(func(c jwt.MapClaims) { c["iss"] = "else" }),
		"issued in future":    claims(func(c jwt.MapClaims) { c["iat"] = start.Add(time.Minute).Unix() }),
		"good in future":      claims(func(c jwt.MapClaims) { c["nbf"] = start.Add(time.Minute).Unix() }),
		"no account":          claims(func(c jwt.MapClaims) { delete(c, "sub") }),
		"account 0":           claims(func(c jwt.MapClaims) { c["sub"] = "0" }),
		"account -1":          claims(func(c jwt.MapClaims) { c["sub"] = "-1" }),
		"account +7":          claims(func(c jwt.MapClaims) { c["sub"] = "+7" }),
		"account 07":          claims(func(c jwt.MapClaims) { c["sub"] = "07" }),
		"account a number":    claims(func(c jwt.MapClaims) { c["sub"] = 7 }),
		"account beyond 2^64": claims(func(c jwt.MapClaims) { c["sub"] = "18446744073709551616" }),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := k.Verify(token)
			require.ErrorIs(t, err, ErrInvalid)
			assert.NotContains(t, err.Error(), "eyJ", "the error repeats the token")
		})
	}
	_, err = k.Verify(claims(func(c jwt.MapClaims) { c["exp"] = start.Unix() - 1; c["iat"] = start.Unix() - 2 }))
	assert.ErrorIs(t, err, ErrExpired)
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.key")
	now := func() time.Time { return start }
	first, err := Load(path, now)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	token, _, err := first.Token(1, time.Hour)
	require.NoError(t, err)
	second, err := Load(path, now)
	require.NoError(t, err)
	_, err = second.Verify(token)
	assert.NoError(t, err, "a token outlives the process")
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	require.NoError(t, err)
	assert.Equal(t, []string{path}, left, "nothing else lies beside it")

	require.NoError(t, os.Chmod(path, 0o640))
	_, err = Load(path, now)
	assert.ErrorContains(t, err, "only its owner")

	for name, text := range map[string]string{
		"empty": "", "no key": "hello", "another kind": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"damaged": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "long": strings.Repeat("x", 4097),
	} {
		bad := filepath.Join(t.TempDir(), "bad.key")
		require.NoError(t, os.WriteFile(bad, []byte(text), 0o600))
		_, err = Load(bad, now)
		assert.ErrorContains(t, err, bad, name)
	}
	_, err = Load(filepath.Join(t.TempDir(), "absent", "token.key"), now)
	assert.Error(t, err)
}

// A token that was good is remembered, within a bound, until it ends; one that
// was not is checked again each time.
func TestVerifiedTokensAreRemembered(t *testing.T) {
	k, now := newKeys(t)
	token, _, err := k.Token(7, time.Hour)
	require.NoError(t, err)
	for range 2 {
		_, err = k.Verify(token + "A")
		assert.ErrorIs(t, err, ErrInvalid)
		assert.Empty(t, k.verified)
	}
	first, err := k.Verify(token)
	require.NoError(t, err)
	assert.Len(t, k.verified, 1)
	again, err := k.Verify(token)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	_, err = k.Verify(token + "A")
	assert.ErrorIs(t, err, ErrInvalid, "another text is another token")

	for i := len(k.verified); i < MaxVerified; i++ {
		k.verified[[sha256.Size]byte{byte(i), byte(i >> 8), 1}] = Identity{}
	}
	other, _, err := k.Token(8, time.Hour)
	require.NoError(t, err)
	_, err = k.Verify(other)
	require.NoError(t, err)
	assert.Len(t, k.verified, 1, "full: begun anew")
	_, err = k.Verify(token)
	require.NoError(t, err, "who was forgotten is checked again")

	*now = first.Expires
	_, err = k.Verify(token)
	assert.ErrorIs(t, err, ErrExpired, "remembered")
	clear(k.verified)
	_, err = k.Verify(token)
	assert.ErrorIs(t, err, ErrExpired, "checked")
	assert.Empty(t, k.verified)
}

// Who has the public half alone checks as the keys do.
func TestVerifier(t *testing.T) {
	k, err := Load(filepath.Join(t.TempDir(), "key"), time.Now)
	require.NoError(t, err)
	v, err := NewVerifier(k.PublicKey(), time.Now)
	require.NoError(t, err)
	token, id, err := k.Token(7, time.Hour)
	require.NoError(t, err)
	got, err := v.Verify(token)
	require.NoError(t, err)
	assert.Equal(t, id.Account, got.Account)
	other, err := Load(filepath.Join(t.TempDir(), "key"), time.Now)
	require.NoError(t, err)
	token, _, err = other.Token(7, time.Hour)
	require.NoError(t, err)
	_, err = v.Verify(token)
	assert.ErrorIs(t, err, ErrInvalid, "signed by another key")
	for _, bad := range []string{"", "!", k.PublicKey()[4:]} {
		_, err = NewVerifier(bad, time.Now)
		assert.ErrorContains(t, err, "expected the 32 bytes of an Ed25519 key in base64")
	}
}
