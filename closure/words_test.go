package closure_test

import (
	"testing"

	"closeout/closure"
)

func TestWordsAreWrittenAsSentences(t *testing.T) {
	t.Parallel()
	for phrase, want := range map[string]string{
		"": "", ".": "", "the bank is gone": "The bank is gone.", "gone.": "Gone.", "gone. ": "Gone.", "and …": "And …", "why?": "Why?", "ünï": "Ünï.",
		"$5 is left": "$5 is left.", "\xff": "\xff.",
	} {
		if got := closure.Sentence(phrase); got != want {
			t.Errorf("%q is written %q, want %q", phrase, got, want)
		}
	}
	for text, want := range map[string]string{"": "", "a": "A", "éa": "Éa", "A": "A", "\xffa": "\xffa"} {
		if got := closure.Capital(text); got != want {
			t.Errorf("%q begins as %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"": "", " a\r\n\tb\x1b[2Jc ": "a b [2Jc", "a  b": "a b", "\n": ""} {
		if got := closure.OneLine(text); got != want {
			t.Errorf("%q on one line is %q, want %q", text, got, want)
		}
	}
}
