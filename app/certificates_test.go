package app

import (
	"net"
	"testing"
)

func TestChallengeAddress(t *testing.T) {
	socket, any, main, https := &net.UnixAddr{Name: "/s"}, &net.TCPAddr{Port: 9091}, &net.TCPAddr{Port: 9090},
		&net.TCPAddr{Port: 443}
	for _, row := range []struct {
		all  []net.Addr
		want net.Addr
	}{
		{[]net.Addr{main, https, any}, https}, {[]net.Addr{socket, main, any}, main}, {[]net.Addr{https}, https},
		{[]net.Addr{socket}, socket},
	} {
		if got := challengeAddress(row.all); got != row.want {
			t.Errorf("%v: %v", row.all, got)
		}
	}
}
