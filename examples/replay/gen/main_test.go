package main

import (
	"bytes"
	"os"
	"testing"
)

// The sample that is committed is the one this program makes.
func TestSampleIsCurrent(t *testing.T) {
	var got bytes.Buffer
	writeSample(&got)
	want, err := os.ReadFile("../sample.csv")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("sample.csv is out of date: run go generate in examples/replay")
	}
}
