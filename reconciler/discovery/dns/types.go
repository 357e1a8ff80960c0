package dns

import "github.com/poplin-net/poplin/reconciler/discovery"

// Types of records that the server itself knows, besides those of the zone.
const (
	typeOPT  = 41
	typeTKEY = 249
	typeIXFR = 251
	typeAXFR = 252
	classIN  = 1
)

// kinds are the types that are counted one by one, by their names.
var kinds = [...]struct {
	kind uint16
	name string
}{
	{discovery.TypeA, "A"}, {discovery.TypeAAAA, "AAAA"}, {discovery.TypeSRV, "SRV"},
	{discovery.TypePTR, "PTR"}, {discovery.TypeTXT, "TXT"}, {65, "HTTPS"}, {0, "other"},
}

// kindIndex is the place of a type among kinds.
func kindIndex(kind uint16) int {
	for i := range kinds {
		if kinds[i].kind == kind {
			return i
		}
	}
	return len(kinds) - 1
}

// rcodes are the names of the codes that are counted.
var rcodes = [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "other"}
