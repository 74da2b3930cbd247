package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/castlecloud/exchange/exchangetest"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// patience is how long a condition on a page may take to come true. It is
// never waited for when all is well.
const patience = 2 * time.Minute

// browserNames are what a Chromium or Chrome is called, the Makefile's list.
var browserNames = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

func findBrowser() string {
	for _, name := range append([]string{os.Getenv("EXCHANGE_BROWSER")}, browserNames...) {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	return ""
}

// browser is the one browser of all tests here: each page has a context of its
// own in it, which shares nothing with the others.
var browser struct {
	once sync.Once
	ctx  context.Context
	err  error
	stop []func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	slices.Reverse(browser.stop)
	for _, stop := range browser.stop {
		stop()
	}
	os.Exit(code)
}

func startBrowser(path string) {
	dir, err := os.MkdirTemp("", "exchange-browser")
	if err != nil {
		browser.err = err
		return
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	if os.Geteuid() == 0 { // the sandbox does not work for root
		opts = append(opts, chromedp.NoSandbox)
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, stop := chromedp.NewContext(allocator)
	browser.stop = []func(){func() { _ = os.RemoveAll(dir) }, stopAllocator, stop}
	browser.ctx, browser.err = ctx, chromedp.Do(ctx)
}

// screen is what a page is shown on.
type screen struct {
	width, height int64
	scale         float64
	dark          bool
	allowed       []string // parts of console messages that belong to the test
}

var (
	desk  = screen{width: 1440, height: 900, scale: 1}
	phone = screen{width: 360, height: 740, scale: 2}
)

// page is one tab of one person. When the test ends it has logged nothing to
// the console, thrown nothing, and asked nobody but its own host.
type page struct {
	t    *testing.T
	ctx  context.Context
	name string
	host string

	mu       sync.Mutex
	problems []string
}

// open shows address to somebody new. It skips the test without a browser.
func open(t *testing.T, name, address string, s screen) *page {
	t.Helper()
	path := findBrowser()
	if path == "" {
		exchangetest.Skip(t, exchangetest.Reason(t.Name()+" needs a Chromium or Chrome: make services, or apt-get install chromium, or set EXCHANGE_BROWSER"))
	}
	browser.once.Do(func() { startBrowser(path) })
	require.NoError(t, browser.err, "starting %s", path)
	ctx, cancel := chromedp.NewContext(browser.ctx, chromedp.WithNewBrowserContext(), chromedp.WithNewWindow(true))
	t.Cleanup(cancel)
	at, err := url.Parse(address)
	require.NoError(t, err)
	p := &page{t: t, ctx: ctx, name: name, host: at.Host}
	require.NoError(t, chromedp.Listen(ctx, p.hear))
	p.console(s.allowed)
	t.Cleanup(p.finish)
	p.do(chromedp.EmulateViewport(s.width, s.height, chromedp.EmulateScale(s.scale)))
	p.scheme(s.dark)
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	p.do(chromedp.Navigate(address))
	return p
}

// hear notes requests to anybody else.
func (p *page) hear(ev any) {
	var asked string
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		asked = e.Request.URL
	case *network.EventWebSocketCreated:
		asked = e.URL
	default:
		return
	}
	// The browser draws its own controls with pictures that are data.
	if u, err := url.Parse(asked); err != nil || u.Host != p.host && u.Scheme != "data" {
		p.problem("a request to another host: %s", asked)
	}
}

func (p *page) console(allowed []string) {
	messages := chromedp.Console(p.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return // the page is closed
			}
			text := m.String()
			if !slices.ContainsFunc(allowed, func(part string) bool { return strings.Contains(text, part) }) {
				p.problem("console: %s (%s line %d)", text, m.URL, m.Line+1)
			}
		}
	}()
}

func (p *page) problem(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

func (p *page) finish() {
	if p.t.Failed() {
		p.shot("failed")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		p.t.Errorf("%s: %s", p.name, problem)
	}
}

// scheme is what the system prefers.
func (p *page) scheme(dark bool) {
	p.t.Helper()
	value := "light"
	if dark {
		value = "dark"
	}
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}}})
	require.NoError(p.t, err)
}

func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, actions...), p.name)
}

func (p *page) click(selector string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`(() => { const e = document.querySelector(%s); return e && !e.disabled && e.checkVisibility(); })()`, quote(selector)))
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

// fill replaces what is in a field by typing.
func (p *page) fill(selector, text string) {
	p.t.Helper()
	p.click(selector)
	p.run(fmt.Sprintf(`document.querySelector(%s).select()`, quote(selector)))
	p.keys(kb.Delete + text)
}

// choose picks an option of a select, with the events a person causes.
func (p *page) choose(selector, value string) {
	p.t.Helper()
	p.run(fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.value = %s; if (e.value !== %[2]s) throw new Error('no such option');
		e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); })()`, quote(selector), quote(value)))
}

// keys presses keys one after the other. A key and its text are one event, as
// on a keyboard: what the page does not let pass types nothing.
func (p *page) keys(keys string, opts ...chromedp.KeyOption) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for _, r := range keys {
		events := kb.Encode(r)
		down, up := events[0], events[len(events)-1]
		if len(events) == 3 {
			down.Text, down.UnmodifiedText = events[1].Text, events[1].UnmodifiedText
		}
		for _, ev := range []*input.DispatchKeyEventParams{down, up} {
			for _, o := range opts {
				o(ev)
			}
			_, err := chromedp.Call(ctx, input.DispatchKeyEvent, *ev)
			require.NoError(p.t, err, "%s: key %q", p.name, r)
		}
	}
}

// waitFor waits until a JavaScript expression is true. One that throws, because
// what it looks into is not there yet, is not true yet.
func (p *page) waitFor(expression string) {
	p.t.Helper()
	_, err := chromedp.Run(p.ctx, chromedp.Poll[chromedp.Void](
		fmt.Sprintf(`(() => { try { globalThis.thrown = ''; return (%s); } catch (e) { globalThis.thrown = String(e); return false; } })()`, expression),
		chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(patience)))
	if errors.Is(err, chromedp.ErrPollingTimeout) {
		p.t.Fatalf("%s: this did not come true within %v: %s\nthrown: %s\n%s", p.name, patience, expression,
			evaluate[string](p, `globalThis.thrown`), p.summary())
	}
	require.NoError(p.t, err, "%s: %s", p.name, expression)
}

// waitText waits until an element's text contains a text.
func (p *page) waitText(selector, part string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`document.querySelector(%s)?.textContent.includes(%s)`, quote(selector), quote(part)))
}

func (p *page) text(selector string) string {
	p.t.Helper()
	return evaluate[string](p, fmt.Sprintf(`document.querySelector(%s)?.textContent ?? ''`, quote(selector)))
}

func (p *page) run(script string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](script, chromedp.EvalAwaitPromise))
}

// summary is what a person would say of a page that is not as expected.
func (p *page) summary() string {
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](
		`['#conn-word', '#outcome', '#notices', '#pane-open', '#pane-history'].map(s => s + ': ' + (document.querySelector(s)?.innerText ?? '')).join('\n')`))
	if err != nil {
		return err.Error()
	}
	return text
}

// evaluate returns the value of a JavaScript expression.
func evaluate[T any](p *page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(p.t, err, "%s: %s", p.name, expression)
	return v
}

// shot keeps a picture of the page: in the directory EXCHANGE_SCREENSHOTS, or
// in one below the system's for temporary files, which the log names.
func (p *page) shot(what string) {
	p.t.Helper()
	dir := os.Getenv("EXCHANGE_SCREENSHOTS")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "exchange-screenshots")
	}
	picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	name := filepath.Join(dir, strings.ReplaceAll(p.t.Name(), "/", "_")+"-"+p.name+"-"+what+".png")
	if err == nil {
		err = os.WriteFile(name, picture, 0o644)
	}
	if err != nil {
		p.t.Errorf("%s: a picture of the page: %v", p.name, err)
		return
	}
	p.t.Logf("%s: %s", p.name, name)
}

// quote returns a text as JavaScript.
func quote(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return string(data)
}
