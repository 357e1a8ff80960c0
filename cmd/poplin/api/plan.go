package api

import (
	"time"

	"github.com/poplin-net/poplin/reconciler"
)

// Plan is what would change on a host.
type Plan struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"` // Plan
	Node       string `json:"node"`
	// Revision is what the plan leads to, From what the host follows now.
	Revision string `json:"revision"`
	From     string `json:"from,omitempty"`
	// Read is how long reading the kernel took.
	Read       time.Duration      `json:"read"`
	Operations []Operation        `json:"operations"`
	Summary    reconciler.Summary `json:"summary"`
	HeldBack   string             `json:"heldBack,omitempty"`
	Conflicts  []Problem          `json:"conflicts,omitempty"`
	Problems   []Problem          `json:"problems,omitempty"`
	Notes      []string           `json:"notes,omitempty"`
}

// Operation is one operation of a plan.
type Operation struct {
	Verb   string `json:"verb"`
	Kind   string `json:"kind"`
	Key    string `json:"key"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Cause  string `json:"cause"`
	Group  string `json:"group"`
	Origin Origin `json:"origin"`
}

// Origin is the place in the documents that asks for an object.
type Origin struct {
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Revision string `json:"revision,omitempty"`
}

// Operations converts a plan.
func Operations(plan reconciler.Plan) []Operation {
	out := make([]Operation, len(plan))
	for i, op := range plan {
		out[i] = Operation{
			Verb: op.Verb.String(), Kind: op.Object().Kind().String(), Key: reconciler.KeyText(op.Object().Key()),
			Before: text(op.Before), After: text(op.After), Cause: string(op.Cause), Group: op.Group,
			Origin: Origin(op.Origin),
		}
	}
	return out
}

func text(o reconciler.Object) string {
	if o == nil {
		return ""
	}
	return o.String()
}
