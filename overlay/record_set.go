package overlay

import "iter"

// recordSet holds the latest record of each installation. A name has one,
// or for a while two.
type recordSet struct {
	byNode map[string][]Record
	count  int
}

func (s *recordSet) get(key recordKey) (Record, bool) {
	for _, r := range s.byNode[key.node] {
		if r.ID == key.id {
			return r, true
		}
	}
	return Record{}, false
}

func (s *recordSet) put(r Record) {
	if s.byNode == nil {
		s.byNode = map[string][]Record{}
	}
	of := s.byNode[r.Node]
	for i := range of {
		if of[i].ID == r.ID {
			of[i] = r
			return
		}
	}
	s.byNode[r.Node] = append(of, r)
	s.count++
}

func (s *recordSet) remove(key recordKey) {
	of := s.byNode[key.node]
	for i := range of {
		if of[i].ID == key.id {
			s.byNode[key.node] = append(of[:i:i], of[i+1:]...)
			s.count--
			break
		}
	}
	if len(s.byNode[key.node]) == 0 {
		delete(s.byNode, key.node)
	}
}

// all yields every record, in no order.
func (s *recordSet) all() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for _, of := range s.byNode {
			for _, r := range of {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// sorted gives every record, by name and ID.
func (s *recordSet) sorted() []Record {
	out := make([]Record, 0, s.count)
	for r := range s.all() {
		out = append(out, r)
	}
	sortRecords(out)
	return out
}
