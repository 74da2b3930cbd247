package exchange_test

import (
	"archive/zip"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What somebody gets who requires the modules from outside: they are served
// from a module proxy made of files, at the version to be tagged next, and a
// program that uses them is built where no workspace and no replacement helps.

// tradingProgram is a first use of the package: an instrument, two limit
// orders, a trade.
const tradingProgram = `package main

import (
	"fmt"
	"log"

	"github.com/castlecloud/exchange"
	"github.com/shopspring/decimal"
)

func main() {
	inst, err := exchange.NewInstrument(exchange.InstrumentSpec{
		ID: 1, Symbol: "BTC-USD",
		Base:  exchange.Asset{ID: 1, Code: "BTC", Scale: 8},
		Quote: exchange.Asset{ID: 2, Code: "USD", Scale: 6},
		Tick:  decimal.RequireFromString("0.01"),
		Lot:   decimal.RequireFromString("0.0001"),
	})
	if err != nil {
		log.Fatal(err)
	}
	engine, err := exchange.NewEngine(exchange.Config{
		Funds:       exchange.FundsNone,
		Instruments: []*exchange.Instrument{inst},
	})
	if err != nil {
		log.Fatal(err)
	}
	sell := exchange.LimitOrder(inst.ID(), 1, exchange.Sell, 6_400_000, 5_000)
	buy := exchange.LimitOrder(inst.ID(), 2, exchange.Buy, 6_400_100, 8_000)
	var events []exchange.Event
	events = engine.Apply(events, &sell)
	events = engine.Apply(events, &buy)
	for _, ev := range events {
		fmt.Println(ev.Seq, ev.Kind, ev.Side, ev.Price, ev.Qty, ev.LeavesQty)
	}
}
`

const tradingOutput = `1 accepted sell 6400000 5000 5000
2 accepted buy 6400100 8000 8000
3 traded buy 6400000 5000 3000
`

const adaptersProgram = `package main

import (
	"fmt"

	"github.com/castlecloud/exchange"
	_ "github.com/castlecloud/exchange/adapters"
)

func main() {
	fmt.Println(exchange.Buy)
}
`

func TestConsumer(t *testing.T) {
	needRepository(t)
	version := readGoMod(t, "adapters", "mod").requirement(t, rootModule)
	proxy := t.TempDir()
	serveModule(t, proxy, rootModule, version, ".")
	serveModule(t, proxy, rootModule+"/adapters", version, "adapters")

	goEnv := strings.Split(strings.TrimSpace(goTool(t, ".", nil, "env", "GOMODCACHE", "GOPROXY")), "\n")
	downloaded := filepath.Join(goEnv[0], "cache", "download")
	env := []string{
		"GOWORK=off",
		"GOPROXY=file://" + filepath.ToSlash(proxy) + ",file://" + filepath.ToSlash(downloaded) + "," + goEnv[1],
		"GONOPROXY=none",
		"GOSUMDB=off", // the version is not published yet
		// A cache of its own: in a shared one this version would stay as it is now.
		"GOMODCACHE=" + filepath.Join(t.TempDir(), "mod"),
		"GOFLAGS=-mod=mod -modcacherw -trimpath",
	}
	for _, tc := range []struct {
		name, module, program, output string
		modules                       []string // compiled in beside the standard library and the consumer
	}{
		{"root", rootModule, tradingProgram, tradingOutput, []string{rootModule, btreeModule, decimalModule}},
		{"adapters", rootModule + "/adapters", adaptersProgram, "buy\n",
			[]string{rootModule, rootModule + "/adapters", btreeModule, decimalModule}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			writeText(t, filepath.Join(dir, "go.mod"), fmt.Sprintf("module consumer\n\ngo 1.25.0\n\nrequire %s %s\n", tc.module, version))
			writeText(t, filepath.Join(dir, "main.go"), tc.program)
			assert.Equal(t, tc.output, goTool(t, dir, env, "run", "."))
			const format = "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{with .Replace}} => {{.Path}}{{end}}{{end}}{{end}}"
			lines := strings.Split(strings.TrimSpace(goTool(t, dir, env, "list", "-deps", "-f", format, ".")), "\n")
			var modules []string
			for _, line := range lines {
				module, at, _ := strings.Cut(line, " ")
				modules = append(modules, module)
				if strings.HasPrefix(module, rootModule) {
					assert.Equal(t, version, at, module)
				}
			}
			slices.Sort(modules)
			assert.ElementsMatch(t, tc.modules, slices.Compact(modules), "modules compiled in")
		})
	}
}

// serveModule adds the module in dir to the file proxy, as the go command
// would make it from the tag: without nested modules and version control.
func serveModule(t *testing.T, proxy, module, version, dir string) {
	t.Helper()
	base := filepath.Join(proxy, filepath.FromSlash(module), "@v")
	require.NoError(t, os.MkdirAll(base, 0o755))
	goMod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	writeText(t, filepath.Join(base, "list"), version+"\n")
	writeText(t, filepath.Join(base, version+".info"), fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version))
	writeText(t, filepath.Join(base, version+".mod"), string(goMod))

	file, err := os.Create(filepath.Join(base, version+".zip"))
	require.NoError(t, err)
	defer file.Close()
	archive := zip.NewWriter(file)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); entry.Name() == ".git" || err == nil && path != dir {
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w, err := archive.Create(module + "@" + version + "/" + filepath.ToSlash(name))
		if err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	require.NoError(t, err)
	require.NoError(t, archive.Close())
}

func writeText(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}
