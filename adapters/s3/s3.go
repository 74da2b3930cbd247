// Package s3 is a pipeline.Archive in an S3 bucket.
//
// # Layout
//
// An object's key is Config.Prefix and its name. Beside the data it has the
// SHA-256 of it in the user metadata "sha256", which says whether what is there
// is the same without reading it.
//
// # What this relies on AWS for
//
// An object is written by one PUT on the condition that there is none
// (If-None-Match: *), so of two writers one wins, whoever retries and whatever
// answers are lost; what the other finds is compared with what it wanted to
// write. S3 is strongly consistent: what was written is listed and read at
// once. One PUT takes 5 GB, and no object is above pipeline.MaxObjectBytes, so
// nothing is written in parts. Listings of general purpose buckets are sorted by
// UTF-8 bytes; those of directory buckets are not, and such a bucket will not
// do. S3 checks the CRC of the body that the client sends.
//
// The caller needs s3:PutObject, s3:GetObject and s3:ListBucket: without the
// last one S3 answers 403, and not 404, for what is not there.
//
// Objects are for good: nothing here deletes. A bucket with Object Lock, or one
// whose policy denies PutObject without the condition, keeps others from it. A
// lifecycle rule may move objects to a colder class that reads at once; one that
// must be restored first is an error to Get.
//
// # What the suite does not prove here
//
// It runs against gofakes3, in process, which does conditional puts. It cannot
// show that S3 decides between two puts at the same moment (409 is tried again,
// 412 is compared) or lists at once what was written. The tests of these carry
// the build tag live.
package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/castlecloud/exchange/pipeline"
)

const (
	// hashKey is the name of the user metadata with the SHA-256, hexadecimal.
	hashKey = "sha256"
	// putTries is how often a put is tried that S3 could not decide, because
	// another one was under way.
	putTries = 5
	putWait  = 50 * time.Millisecond // before the second try, twice as long before each further one
	// MaxPrefixBytes is how long Config.Prefix is at most: a key has 1,024.
	MaxPrefixBytes = 512
	maxKeys        = 1000 // of a listing
)

// Config says where objects lie. Bucket is mandatory.
type Config struct {
	Bucket string
	// Prefix is put before each name, as it is: "" or, for example,
	// "archive/". What pipeline.CheckObjectName allows, with a slash at its end
	// or not.
	Prefix string
	// StorageClass is that of what is written; "": the bucket's default.
	StorageClass types.StorageClass
}

// Archive implements pipeline.Archive. It is safe for concurrent use.
type Archive struct {
	client *s3.Client
	cfg    Config
}

var _ pipeline.Archive = (*Archive)(nil)

// NewArchive returns the Archive in a bucket; an error (pipeline.ErrInvalid)
// when cfg is none. It does not talk to S3.
func NewArchive(client *s3.Client, cfg Config) (*Archive, error) {
	switch {
	case client == nil || cfg.Bucket == "":
		return nil, fmt.Errorf("archive: %w: a client and Bucket are needed", pipeline.ErrInvalid)
	case len(cfg.Prefix) > MaxPrefixBytes:
		return nil, fmt.Errorf("archive: %w: Prefix of %d bytes, expected at most %d", pipeline.ErrInvalid, len(cfg.Prefix), MaxPrefixBytes)
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(cfg.Prefix, "/"), "/") {
		if cfg.Prefix == "" {
			break
		}
		if err := pipeline.CheckObjectName(part); err != nil {
			return nil, fmt.Errorf("archive: Prefix %q: %w", cfg.Prefix, err)
		}
	}
	return &Archive{client, cfg}, nil
}

func (a *Archive) key(name string) *string { return aws.String(a.cfg.Prefix + name) }

// Put implements pipeline.Archive.
func (a *Archive) Put(ctx context.Context, name string, data []byte) error {
	if err := pipeline.CheckObjectName(name); err != nil {
		return fmt.Errorf("archiving: %w", err)
	}
	if len(data) > pipeline.MaxObjectBytes {
		return fmt.Errorf("archiving %s: %w: %d bytes, expected at most %d", name, pipeline.ErrTooLarge, len(data), pipeline.MaxObjectBytes)
	}
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	wait := putWait
	for try := 1; ; try++ {
		_, err := a.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String(a.cfg.Bucket), Key: a.key(name), Body: bytes.NewReader(data), IfNoneMatch: aws.String("*"),
			Metadata: map[string]string{hashKey: hash}, StorageClass: a.cfg.StorageClass, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		})
		switch {
		case err == nil:
			return nil
		case isCode(err, "PreconditionFailed"): // there is one, perhaps from this very call
			return a.compare(ctx, name, data, hash)
		case !isCode(err, "ConditionalRequestConflict") || try == putTries:
			return fmt.Errorf("archiving %s: %w", name, err)
		}
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			return fmt.Errorf("archiving %s: %w", name, ctx.Err())
		}
	}
}

// compare says whether an object that is there is the one to be written.
func (a *Archive) compare(ctx context.Context, name string, data []byte, hash string) error {
	head, err := a.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(a.cfg.Bucket), Key: a.key(name)})
	if err != nil {
		return fmt.Errorf("archiving %s: looking at what is there: %w", name, err)
	}
	same := aws.ToInt64(head.ContentLength) == int64(len(data))
	if same {
		if there, ok := head.Metadata[hashKey]; ok {
			same = there == hash
		} else { // another program's, or copied without its metadata
			got, err := a.Get(ctx, name)
			if err != nil {
				return fmt.Errorf("archiving %s: comparing with what is there: %w", name, err)
			}
			same = bytes.Equal(got, data)
		}
	}
	if !same {
		return fmt.Errorf("archiving %s: %w", name, pipeline.ErrConflict)
	}
	return nil
}

// Get implements pipeline.Archive. ErrTooLarge: somebody else's object, above
// MaxObjectBytes.
func (a *Archive) Get(ctx context.Context, name string) ([]byte, error) {
	if err := pipeline.CheckObjectName(name); err != nil {
		return nil, fmt.Errorf("reading an object: %w", err)
	}
	out, err := a.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(a.cfg.Bucket), Key: a.key(name)})
	if isCode(err, "NoSuchKey", "NotFound") {
		return nil, fmt.Errorf("object %q: %w", name, pipeline.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("object %q: %w", name, err)
	}
	defer out.Body.Close()
	size := aws.ToInt64(out.ContentLength)
	if size > pipeline.MaxObjectBytes {
		return nil, fmt.Errorf("object %q: %w: %d bytes, expected at most %d", name, pipeline.ErrTooLarge, size, pipeline.MaxObjectBytes)
	}
	data := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	if n, err := io.Copy(data, io.LimitReader(out.Body, size+1)); err != nil || n != size {
		return nil, fmt.Errorf("object %q: %d of %d bytes: %w", name, n, size, orShort(err))
	}
	return data.Bytes(), nil
}

func orShort(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// List implements pipeline.Archive.
func (a *Archive) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if limit < 1 || limit > pipeline.MaxQueryRows {
		return nil, fmt.Errorf("listing objects: %w: limit %d, expected 1 to %d", pipeline.ErrInvalid, limit, pipeline.MaxQueryRows)
	}
	in := &s3.ListObjectsV2Input{Bucket: aws.String(a.cfg.Bucket), Prefix: a.key(prefix)}
	if after != "" {
		in.StartAfter = a.key(after)
	}
	var names []string
	for {
		in.MaxKeys = aws.Int32(int32(min(limit-len(names), maxKeys)))
		page, err := a.client.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("listing objects: %w", err)
		}
		for i := range page.Contents {
			names = append(names, strings.TrimPrefix(aws.ToString(page.Contents[i].Key), a.cfg.Prefix))
		}
		if len(names) >= limit || !aws.ToBool(page.IsTruncated) {
			return names[:min(limit, len(names))], nil
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

// isCode reports whether err is S3's answer with one of some codes.
func isCode(err error, codes ...string) bool {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return false
	}
	for _, code := range codes {
		if answer.ErrorCode() == code {
			return true
		}
	}
	return false
}
