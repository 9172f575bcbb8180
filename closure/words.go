package closure

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Count writes a number of things: "1 position", "3 positions".
func Count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}

// Capital is a text that begins with a capital letter.
func Capital(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if first == utf8.RuneError {
		return text
	}
	return string(unicode.ToUpper(first)) + text[size:]
}

// Sentence is a phrase, such as the reason of a stop, with its capital and its full stop. That of nothing is nothing.
func Sentence(phrase string) string {
	phrase = strings.TrimRight(phrase, ". ")
	if last, _ := utf8.DecodeLastRuneInString(phrase); phrase != "" && !strings.ContainsRune("!?…", last) {
		phrase += "."
	}
	return Capital(phrase)
}

// OneLine is a text that others wrote as a page, a terminal or a stream can take it: on one line, without what would move a cursor.
func OneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}
