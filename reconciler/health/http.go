package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/poplin-net/poplin/schema"
)

const (
	// maxBody is how much of an answer is read (bytes), so that its sender is
	// not cut off for nothing.
	maxBody = 10 << 10
	// maxRedirects as Kubernetes has it.
	maxRedirects = 10
)

// get makes one HTTP request.
func (h *host) get(ctx context.Context, pod Pod, p schema.HTTPProbe) error {
	at, err := address(pod, p.Host, p.Port)
	if err != nil {
		return err
	}
	scheme := "http"
	if p.TLS {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+at.String()+p.Path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "poplin-probe")
	request.Header.Set("Accept", "*/*")
	setHeaders(request, p.Headers)
	response, err := h.client(pod).Do(request)
	if err != nil {
		return plainError(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxBody)); err != nil {
		return plainError(err)
	}
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("status %s", clip(response.Status, 60))
	}
	return nil
}

// setHeaders puts a probe's headers into a request, in place of our own.
func setHeaders(request *http.Request, headers []schema.Header) {
	for _, header := range headers {
		request.Header.Del(header.Name)
	}
	for _, header := range headers {
		if strings.EqualFold(header.Name, "Host") {
			request.Host = header.Value
			continue
		}
		request.Header.Add(header.Name, header.Value)
	}
}

// client makes requests from inside a pod's namespace, each over a connection
// of its own. A redirect to another host is an answer, not a way to go.
func (h *host) client(pod Pod) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
				at, err := netip.ParseAddrPort(to)
				if err != nil {
					return nil, err
				}
				return h.connect(ctx, pod, at)
			},
			DisableKeepAlives: true, DisableCompression: true,
			// As in Kubernetes: a probe asks whether a server is there, not who it is.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if next.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= maxRedirects {
				return errors.New("too many redirects")
			}
			return nil
		},
	}
}

// plainError leaves out the URL, which whoever reads the text knows.
func plainError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return errors.New(clip(err.Error(), 200))
}
