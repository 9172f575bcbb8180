package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// eraseBelow erases from the cursor to the end of the screen.
const eraseBelow = text.EscapeStart + "J"

// screen draws the board on a terminal, each time over the last one. It leaves no mode set, so that the terminal is as it was
// however the program ends.
type screen struct {
	out   io.Writer
	size  func() (width, height int)
	drawn []string // what stands on the terminal above the cursor
}

// live is a screen if the output is a terminal that can be drawn on, and nil otherwise or where lines were asked for.
func (c *initiateCmd) live(o output) *screen {
	if !c.Wait || c.JSON {
		return nil
	}
	return screenOn(tty(o))
}

// screenOn is a screen on a terminal; nil where there is none.
func screenOn(f *os.File) *screen {
	if f == nil {
		return nil
	}
	return &screen{out: f, size: func() (int, int) {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil || width < 1 || height < 1 {
			return 80, 24
		}
		return width, height
	}}
}

// asking says how far the asking is: each account is read at the broker first, which takes a while.
func (s *screen) asking(n, of int) {
	if s != nil {
		_, _ = fmt.Fprintf(s.out, "asking for account %d of %d", n, of)
	}
}

// asked clears that.
func (s *screen) asked() {
	if s != nil {
		_, _ = io.WriteString(s.out, "\r"+text.EraseLine.Sprint())
	}
}

func (s *screen) show(rows []row) {
	width, height := s.size()
	s.draw(board(rows, width, height-1), width) // the cursor stands below it
}

// draw replaces what it drew before. A terminal that became narrower has broken the old lines into several.
func (s *screen) draw(lines []string, width int) {
	var b strings.Builder
	up := 0
	for _, l := range s.drawn {
		up += max(1, (text.StringWidthWithoutEscSequences(l)+width-1)/width)
	}
	b.WriteString("\r")
	if up > 0 {
		b.WriteString(text.CursorUp.Sprintn(up))
	}
	for _, l := range lines {
		b.WriteString(l + text.EraseLine.Sprint() + "\n")
	}
	b.WriteString(eraseBelow)
	_, _ = io.WriteString(s.out, b.String()) // at once, so that nothing flickers
	s.drawn = lines
}

func (s *screen) end(rows []row) {
	width, _ := s.size()
	for _, l := range append([]string{""}, summary(rows, width)...) {
		_, _ = fmt.Fprintln(s.out, l)
	}
}

// stop wipes away the ^C that the terminal wrote; the board stays as it was last seen.
func (s *screen) stop() { _, _ = io.WriteString(s.out, "\r"+text.EraseLine.Sprint()) }
