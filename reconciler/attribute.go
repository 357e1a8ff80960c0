package reconciler

// Attribute fills in why each operation of a plan is there and, for
// deletions, which document used to ask for the object. before and after are
// the desired states of the last round and of this one; cause is what made
// after differ from before. What is desired now as it was then has drifted.
// With first set there was no last round, and everything is caused by start.
//
// The plan is changed in place and returned.
func Attribute(plan Plan, before, after State, cause Cause, first bool) Plan {
	if len(plan) == 0 {
		return plan
	}
	type owned struct {
		group  *Group
		object Object
	}
	old := map[Key]owned{}
	for _, g := range unshared(before, after) {
		for _, o := range g.Objects {
			old[o.Key()] = owned{g, o}
		}
	}
	for i := range plan {
		op := &plan[i]
		was, found := old[op.Object().Key()]
		if op.After == nil && found {
			op.Group, op.Origin = was.group.Name, was.group.Origin
		}
		switch {
		case first:
			op.Cause = CauseStart
		case found && was.object == op.After:
			op.Cause = CauseDrift
		case !found && unchangedGroup(before, after, op):
			op.Cause = CauseDrift
		default:
			op.Cause = cause
		}
	}
	return plan
}

// unchangedGroup reports whether nothing about the operation's object changed
// in the desired states: its group is shared, or nobody ever asked for it.
func unchangedGroup(before, after State, op *Op) bool {
	if op.Group == "" {
		return true
	}
	g := after.Group(op.Group)
	return g != nil && g == before.Group(op.Group)
}
