package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// names is a program for scripts: names ADDRESS:PORT MODE is a resolver of
// everything below example.com, which writes down what it is asked, a line
// each. The mode is
//
//	fine           answers
//	slow           answers after 1 s
//	truncates      has nothing to say over UDP but that TCP has it
//	lies           answers another question
//	silent         never answers
//	asks ADDRESS   hands questions to somebody, and the answers back
func names() {
	at, mode := os.Args[1], os.Args[2]
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		network := w.LocalAddr().Network()
		fmt.Println(q.Question[0].Name, dns.TypeToString[q.Question[0].Qtype], network)
		m := namesReply(q)
		switch mode {
		case "slow":
			time.Sleep(time.Second)
		case "truncates":
			if m.Truncated = network == "udp"; m.Truncated {
				m.Answer = nil
			}
		case "lies":
			m.Question[0].Name = "other.example.com."
		case "silent":
			return
		case "asks":
			answer, _, err := new(dns.Client).Exchange(q, os.Args[3])
			if err != nil {
				return
			}
			m = answer
		}
		_ = w.WriteMsg(m) // who asked has gone
	})
	failed := make(chan error)
	for _, network := range []string{"udp", "tcp"} {
		go func() { failed <- dns.ListenAndServe(at, network, handler) }()
	}
	fmt.Fprintln(os.Stderr, <-failed)
	os.Exit(1)
}

// namesReply answers for names below example.com but none.example.com.
func namesReply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	if !strings.HasSuffix(name, "example.com.") || name == "none.example.com." {
		m.Rcode = dns.RcodeNameError
		return m
	}
	header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 2}
	switch question.Qtype {
	case dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header, A: netip.MustParseAddr("198.51.100.7").AsSlice()})
	case dns.TypeAAAA:
		m.Answer = append(m.Answer, &dns.AAAA{Hdr: header, AAAA: netip.MustParseAddr("2001:db8:51::7").AsSlice()})
	}
	return m
}
