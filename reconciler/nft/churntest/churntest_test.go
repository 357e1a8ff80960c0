package churntest

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The endpoint is in from second 10 to 20, and again from 30.
func TestVerdict(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	for _, c := range []struct {
		what        string
		start, made int
		endpoint    string
		err         error
		fault       string
	}{
		{"while it is in", 12, 13, "a", nil, ""},
		{"made as it joins", 9, 10, "a", nil, ""},
		{"made before it joins", 8, 9, "a", nil, "not in"},
		{"started as it leaves", 20, 21, "a", nil, ""},
		{"started after it has left", 21, 22, "a", nil, "not in"},
		{"across both", 21, 30, "a", nil, ""},
		{"after it is back", 99, 99, "a", nil, ""},
		{"of nobody", 12, 13, "b", nil, "not in"},
		{"refused", 12, 13, "", unix.ECONNREFUSED, "refused"},
		{"timed out", 12, 17, "", errors.New("i/o timeout"), "timeout"},
	} {
		l := Load{calls: []call{{"service", at(c.start), at(c.made), c.endpoint, c.err}}}
		l.Joins("a", at(10))
		l.Leaves("a", at(20))
		l.Joins("a", at(30))
		v := l.Verdict()
		switch {
		case c.fault == "" && len(v.Faults) > 0:
			t.Errorf("%s: %v", c.what, v.Faults)
		case c.fault != "" && (len(v.Faults) != 1 || !strings.Contains(v.Faults[0].Error(), c.fault)):
			t.Errorf("%s: %v, want %q", c.what, v.Faults, c.fault)
		}
	}
}

func TestClient(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for n := 1; ; n++ {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "a")
			_ = c.Close()
			if n == 3 {
				cancel()
			}
		}
	}()
	l := Load{Rate: 1000, Clients: 1, Addresses: []string{listener.Addr().String()}, Ask: func(c net.Conn) (string, error) {
		b, err := io.ReadAll(c)
		return string(b), err
	}}
	l.Joins("a", time.Now())
	l.Client(ctx, 0)
	v := l.Verdict()
	if v.Connections < 3 || v.Reached["a"] < 3 || v.Rate == 0 {
		t.Errorf("%+v", v)
	}
}
