package reconciler

import "fmt"

// Verb says what an operation does.
type Verb uint8

// The verbs, always in the direction "will happen on the host".
const (
	Add Verb = iota + 1
	Change
	Delete
)

// String gives the word of the JSON form.
func (v Verb) String() string { return [...]string{"", "add", "change", "delete"}[v] }

// Sign gives the character that plans print: +, ~ or -.
func (v Verb) Sign() string { return [...]string{" ", "+", "~", "-"}[v] }

// Cause says why an operation is needed.
type Cause string

// The causes.
const (
	CauseStart      Cause = "start"      // the first round of a daemon
	CauseConfig     Cause = "config"     // the documents changed
	CauseMembership Cause = "membership" // a peer, claim or pod elsewhere changed
	CauseHealth     Cause = "health"     // an endpoint's readiness changed
	CauseHost       Cause = "host"       // the underlay's link, MTU or address changed
	CauseDrift      Cause = "drift"      // somebody else changed what is ours
)

// Op is one operation of a plan.
type Op struct {
	Verb   Verb
	Before Object // nil for Add
	After  Object // nil for Delete
	// Group names the group that asks for the object, or used to.
	Group  string
	Origin Origin
	Cause  Cause
}

// Object returns the object that the operation is about: After, or Before if
// it is deleted.
func (o Op) Object() Object {
	if o.After != nil {
		return o.After
	}
	return o.Before
}

// String is the operation's line in logs and goldens.
func (o Op) String() string {
	if o.Verb == Change {
		return fmt.Sprintf("~ %s → %s", o.Before, o.After)
	}
	return o.Verb.Sign() + " " + o.Object().String()
}

// Plan is a list of operations in the order in which they can be carried
// out: adds and changes in dependency order, then deletes in reverse.
type Plan []Op

// Summary counts a plan's operations.
type Summary struct {
	Add       int `json:"add"`
	Change    int `json:"change"`
	Delete    int `json:"delete"`
	Unchanged int `json:"unchanged"`
}

// Summary counts the operations; unchanged is what desired holds beside them.
func (p Plan) Summary(desired State) Summary {
	var s Summary
	for _, op := range p {
		switch op.Verb {
		case Add:
			s.Add++
		case Change:
			s.Change++
		case Delete:
			s.Delete++
		}
	}
	s.Unchanged = desired.Len() - s.Add - s.Change
	return s
}
