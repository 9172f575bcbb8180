package closure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Format is the format of what this version writes for others to read: tasks' payloads, memos and the bodies of events. A newer
// version that adds a member leaves it as it is, and may rely on it that this one carries the member along. One that changes
// what a member means, or what must be done, writes a higher format, as "v", and this one keeps its hands off.
const Format = 1

// ErrNewer says that a newer version of the service wrote what is to be dealt with, in a way that this one does not know. It
// is nobody's fault and changes nothing: a process of that version goes on with it. It is an ErrNotRunning, to be left alone.
var ErrNewer = fmt.Errorf("%w as far as this version knows: a newer one must deal with it", ErrNotRunning)

// Newer says what in a closure and its intents a newer version has written that this one can't deal with; empty: nothing. It
// may then look at the closure, and change nothing of it. A reason that it does not know is no such thing: the next look finds
// its own.
func Newer(c Closure, intents ...Intent) string {
	switch {
	case !c.Phase.Valid():
		return fmt.Sprintf("the phase %q", c.Phase)
	case !slices.Contains(States, c.State):
		return fmt.Sprintf("the state %q", c.State)
	case c.Memo.Format > Format:
		return fmt.Sprintf("a memo of format %d", c.Memo.Format)
	}
	for _, i := range intents {
		switch {
		case !slices.Contains(IntentKinds, i.Kind):
			return fmt.Sprintf("an instruction of the kind %q", i.Kind)
		case !slices.Contains(IntentStates, i.State):
			return fmt.Sprintf("an instruction in the state %q", i.State)
		}
	}
	return ""
}

// Fields are the members of a JSON object that this version does not know. Whoever reads the object, changes it and writes it
// again carries them along, or the version that wrote them would find them gone.
type Fields map[string]json.RawMessage

// known reads an object that has nothing but the fields of into, as is usual. Where it says no, into is anything.
func known[T any](b []byte, into *T) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into) == nil && d.InputOffset() == int64(len(b))
}

// decode reads an object, and gives what it has beside the fields of into.
func decode[T any](b []byte, into *T) (Fields, error) {
	if known(b, into) {
		return nil, nil
	}
	var zero T
	*into = zero
	if err := json.Unmarshal(b, into); err != nil {
		return nil, err
	}
	var all Fields
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	for n := range reflect.TypeFor[T]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[T]().Field(n).Tag.Get("json"), ",")
		delete(all, name)
	}
	return all, nil
}

// encode writes an object with what it had beside its own fields.
func encode(known any, beside Fields) ([]byte, error) {
	b, err := json.Marshal(known)
	if err != nil || len(beside) == 0 {
		return b, err
	}
	all := maps.Clone(beside)
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// FormatOf is the format of a JSON object, as its "v" says; 1 where it says nothing.
func FormatOf(b []byte) int {
	var f struct {
		V int `json:"v"`
	}
	if json.Unmarshal(b, &f) != nil || f.V < 1 {
		return 1
	}
	return f.V
}

type (
	plainMemo     Memo
	plainStand    Stand
	plainHandPaid HandPaid
)

// UnmarshalJSON implements json.Unmarshaler. Of a memo of a newer format nothing is read, and everything is kept.
func (m *Memo) UnmarshalJSON(b []byte) error {
	var p plainMemo
	if known(b, &p) && p.Format <= Format {
		*m = Memo(p)
		return nil
	}
	p = plainMemo{}
	if f := FormatOf(b); f > Format {
		*m = Memo{Format: f}
		if err := json.Unmarshal(b, &m.Beside); err != nil {
			return err
		}
		delete(m.Beside, "v")
		return nil
	}
	beside, err := decode(b, &p)
	p.Beside = beside
	*m = Memo(p)
	return err
}

// MarshalJSON implements json.Marshaler.
func (m Memo) MarshalJSON() ([]byte, error) { return encode(plainMemo(m), m.Beside) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Stand) UnmarshalJSON(b []byte) error {
	var p plainStand
	beside, err := decode(b, &p)
	p.Beside = beside
	*s = Stand(p)
	return err
}

// MarshalJSON implements json.Marshaler.
func (s Stand) MarshalJSON() ([]byte, error) { return encode(plainStand(s), s.Beside) }

// UnmarshalJSON implements json.Unmarshaler.
func (h *HandPaid) UnmarshalJSON(b []byte) error {
	var p plainHandPaid
	beside, err := decode(b, &p)
	p.Beside = beside
	*h = HandPaid(p)
	return err
}

// MarshalJSON implements json.Marshaler.
func (h HandPaid) MarshalJSON() ([]byte, error) { return encode(plainHandPaid(h), h.Beside) }
