package reconciler

import (
	"encoding/json"
	"fmt"
)

// KeyText formats a key as the words that identify the object: its kind's
// own, then the key's fields that are set.
func KeyText(k Key) string {
	switch k := k.(type) {
	case NamespaceKey:
		return "netns " + k.Name
	case LinkKey:
		return "link " + inNetns(k.Netns) + k.Name
	case SysctlKey:
		return "sysctl " + inNetns(k.Netns) + k.Name
	case AddressKey:
		return Address(k).String()
	case TunnelKey:
		return "tunnel " + k.Device
	case TunnelPeerKey:
		return fmt.Sprintf("tunnel-peer %s dev %s", k.Subnet, k.Device)
	case RouteKey:
		return "route " + inNetns(k.Netns) + k.Destination.String()
	case TableKey:
		return fmt.Sprintf("table %s poplin", k.Family)
	case ChainKey:
		return fmt.Sprintf("chain %s poplin %s", k.Family, k.Name)
	case ElementKey:
		e := Element{Family: k.Family, Set: k.Set, Address: k.Address, Prefix: k.Prefix, Protocol: k.Protocol, Port: k.Port, Slot: k.Slot}
		return e.String()
	}
	return fmt.Sprint(k)
}

// encodedObject is an object in a file.
type encodedObject struct {
	Kind   string          `json:"kind"`
	Object json.RawMessage `json:"object"`
}

// decoders make objects of each kind from JSON.
var decoders = map[string]func(json.RawMessage) (Object, error){
	KindNamespace.String():  decode[Namespace],
	KindLink.String():       decode[Link],
	KindSysctl.String():     decode[Sysctl],
	KindAddress.String():    decode[Address],
	KindTunnel.String():     decode[Tunnel],
	KindTunnelPeer.String(): decode[TunnelPeer],
	KindRoute.String():      decode[Route],
	KindTable.String():      decode[Table],
	KindChain.String():      decode[Chain],
	KindElement.String():    decode[Element],
}

func decode[T Object](raw json.RawMessage) (Object, error) {
	var o T
	return o, json.Unmarshal(raw, &o)
}

// MarshalJSON writes the state's objects as a list of kind and object. The
// groups are not kept: they do not exist on a host.
func (s State) MarshalJSON() ([]byte, error) {
	list := make([]encodedObject, 0, s.Len())
	for _, o := range s.Objects() {
		raw, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o, err)
		}
		list = append(list, encodedObject{o.Kind().String(), raw})
	}
	return json.Marshal(list)
}

// UnmarshalJSON reads what MarshalJSON wrote, as one group.
func (s *State) UnmarshalJSON(data []byte) error {
	var list []encodedObject
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	g := &Group{Name: "observed"}
	for _, e := range list {
		d, ok := decoders[e.Kind]
		if !ok {
			return fmt.Errorf("unknown kind of object %q", e.Kind)
		}
		o, err := d(e.Object)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Kind, err)
		}
		g.Objects = append(g.Objects, o)
	}
	*s = NewState(g)
	return nil
}
