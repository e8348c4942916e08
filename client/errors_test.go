package client_test

import (
	"errors"
	"fmt"
	"testing"

	"sessionserver/client"
	"sessionserver/wire"
)

func TestCodesHaveSentinels(t *testing.T) {
	t.Parallel()
	sentinels := []error{
		client.ErrNoAuth, client.ErrBadAuth, client.ErrTLSRequired, client.ErrIPDenied, client.ErrDenied,
		client.ErrRateLimited, client.ErrQuota, client.ErrNoSession, client.ErrBusy, client.ErrNotFound,
		client.ErrNoKey, client.ErrReadOnly, client.ErrLockTimeout, client.ErrLockLost, client.ErrBadID,
		client.ErrBadKey, client.ErrBadArg, client.ErrTooLarge, client.ErrBinary, client.ErrUnknown,
		client.ErrProtocol, client.ErrUnavailable, client.ErrShutdown, client.ErrInternal,
	}
	if len(sentinels) != len(wire.Codes) {
		t.Fatalf("%d sentinels for %d codes", len(sentinels), len(wire.Codes))
	}
	for i, code := range wire.Codes {
		err := fmt.Errorf("wrapped: %w", wire.Errorf(code, "some message"))
		for j, sentinel := range sentinels {
			if errors.Is(err, sentinel) != (i == j) {
				t.Errorf("errors.Is(%v, %v) = %t", err, sentinel, i != j)
			}
		}
		var e *client.Error
		if !errors.As(err, &e) || e.Code != code || e.Message != "some message" {
			t.Errorf("errors.As(%v) = %v", err, e)
		}
	}
}
