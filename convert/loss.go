package convert

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Loss is a member of a request that could not be carried over as it was, or several of one name.
type Loss struct {
	// Param is the member's path in the client's request, such as tools[2]. Of several it is that of the first.
	Param string
	// What became of it, such as "dropped" or "raised to 16".
	What string
	// Count is how many members the loss stands for. 0 is one, like 1.
	Count int

	// stray is where the name of a member begins that the API does not have, in Param; 0 of any other. Such a name is
	// the client's invention, and may itself look like a path.
	stray int
	field string // of one that counts others: what they have in common
}

// Members is how many members of the request the loss stands for, 1 or more.
func (l Loss) Members() int { return max(l.Count, 1) }

// Field is the path without indices, for a label of metrics: tools[2].format becomes tools.format. It is one of a few
// hundred that the types of the two APIs give, whatever a request says: what is not a member of its object there is
// "unknown", and so is what is nested deeper than any client nests it.
func (l Loss) Field() string {
	if l.stray > 0 {
		return fieldOf(l.Param[:l.stray-1], true)
	}
	return fieldOf(l.Param, false)
}

func (l Loss) String() string {
	s := l.Param + "=" + l.What
	if l.Count > 1 {
		s += " (" + strconv.Itoa(l.Count) + " times)"
	}
	return s
}

// Report is what a translation could not carry over. However long the request is, it has at most a few hundred
// entries: the first 100 losses are kept one by one, and of what follows all those of one [Loss.Field] that fared
// alike are one, which counts them.
type Report []Loss

// maxLosses is how many losses are kept one by one.
const maxLosses = 100

// Members is how many members of the request the losses stand for.
func (r Report) Members() int {
	n := 0
	for i := range r {
		n += r[i].Members()
	}
	return n
}

func (r *Report) add(param, format string, args ...any) {
	r.lose(Loss{Param: param, What: fmt.Sprintf(format, args...)})
}

func (r *Report) lose(l Loss) {
	if l.Param == "" {
		l.Param = `""` // a member without a name has one in the report
	}
	if len(*r) < maxLosses {
		*r = append(*r, l)
		return
	}
	field := l.Field()
	for i := maxLosses; i < len(*r); i++ {
		if same := &(*r)[i]; same.field == field && same.What == l.What {
			same.Count = same.Members() + 1
			return
		}
	}
	l.field = field
	*r = append(*r, l)
}

// hint leaves out a member that only hints, or refuses it where o is strict.
func (r *Report) hint(o *Options, param, why string) error {
	return r.change(o, param, "dropped", why)
}

// change carries a member over in another form, or refuses it where o is strict.
func (r *Report) change(o *Options, param, what, why string) error {
	return r.changed(o, Loss{Param: param, What: what}, why)
}

// stray leaves out a member that the API does not have, of the object at a path, or refuses it where o is strict.
func (r *Report) stray(o *Options, at, name, why string) error {
	return r.changed(o, strayed(at, name), why)
}

// strayed is the loss of such a member.
func strayed(at, name string) Loss {
	if at != "" {
		at += "."
	}
	return Loss{Param: at + name, What: "dropped", stray: len(at) + 1}
}

func (r *Report) changed(o *Options, l Loss, why string) error {
	if o.Strict {
		return unsupported(l.Param, "Unsupported parameter: '%s' cannot be carried over to the upstream (%s), and this gateway is strict. Remove it.", l.Param, why)
	}
	r.lose(l)
	return nil
}

// strays leaves out the members of an object that are not T's: other servers' extensions and what is newer than this
// package. The object stands at the path at. Of members that say nothing, or that are silent, nothing is lost.
func strays[T any](r *Report, o *Options, at string, unknown jsontext.Value, silent ...string) error {
	if len(unknown) == 0 {
		return nil
	}
	known := memberNames[T]()
	for name, value := range eachMember(unknown) {
		if err := wrongCase(name, known, at+"."); err != nil {
			return err
		}
		if value.Kind() == 'n' || string(value) == "[]" || slices.Contains(silent, name) {
			continue
		}
		if err := r.stray(o, at, name, "its API has no such member"); err != nil {
			return err
		}
	}
	return nil
}
