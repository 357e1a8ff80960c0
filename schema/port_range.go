package schema

// portRangeAnnotation has the ranges of ports of a Service.
const portRangeAnnotation = "poplin/port-range"

// portRanges reads the annotation. A port belongs to one range or port.
func (c *conversion) portRanges(out *serviceDraft) {
	text := c.meta.Annotations[portRangeAnnotation]
	if text == "" {
		return
	}
	at := pointer("/metadata/annotations").field(portRangeAnnotation)
	ranges, _ := parseServiceRanges(text)
	for i, r := range ranges {
		for _, o := range ranges[:i] {
			if o.Protocol == r.Protocol && o.First <= r.Last && r.First <= o.Last {
				c.refuse(at, "%d-%d and %d-%d overlap", o.First, o.Last, r.First, r.Last)
			}
		}
		for _, p := range out.service.Ports {
			if p.Protocol == r.Protocol && r.Contains(p.Port) {
				c.refuse(at, "%d-%d has port %d/%s, which is among ports", r.First, r.Last, p.Port, p.Protocol)
			}
		}
	}
	out.service.PortRanges = ranges
}

// portRangeLimits refuses what ranges of ports cannot do.
func (c *conversion) portRangeLimits(out *serviceDraft) {
	s := &out.service
	if len(s.PortRanges) == 0 {
		return
	}
	at := pointer("/metadata/annotations").field(portRangeAnnotation)
	for what, has := range map[string]bool{
		"a headless service": s.Headless, "type ExternalName": s.Type == ExternalName, "session affinity": s.Affinity > 0,
		"poplin/load-balancing": s.ConsistentHash, "externalTrafficPolicy: Local": s.ExternalLocal,
		"loadBalancerSourceRanges": len(s.SourceRanges) > 0,
	} {
		if has {
			c.refuse(at, "ranges of ports do not go with %s", what)
		}
	}
}
