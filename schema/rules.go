package schema

import "fmt"

// maxHints bounds the near misses that are looked for in one Parse: each
// costs a pass over names.
const maxHints = 50

// rules runs the rules across documents. Those about two things that
// conflict always run; those about something that is missing run only if
// nothing else is wrong: it may be in a document that could not be read.
func (t *tree) rules() {
	t.frontendRules()
	t.externalRules()
	t.daemonPortRules()
	t.subnetRules()
	t.nodeRules()
	t.staticAddressRules()
	t.endpointsRules()
	if t.diagnostics.Errors() > 0 {
		return
	}
	t.rosterRules()
	t.subnetChoiceRules()
	if t.diagnostics.Errors() > 0 {
		return
	}
	t.capacityRules()
	t.lengthRule()
	t.hostPortRules()
	t.selectorRules()
	t.sliceRules()
	t.environmentRule()
}

func (t *tree) refuse(u *unit, at pointer, format string, args ...any) {
	t.report(Error, u, finding{at: at, message: fmt.Sprintf(format, args...)})
}

func (t *tree) warn(u *unit, at pointer, format string, args ...any) {
	t.report(Warning, u, finding{at: at, message: fmt.Sprintf(format, args...)})
}
