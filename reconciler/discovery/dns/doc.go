// Package dns answers questions over UDP and TCP.
package dns
