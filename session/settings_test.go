package session

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSettingsAreValidated(t *testing.T) {
	if errs := DefaultSettings().Validate(); errs != nil {
		t.Error(errs)
	}
	bad := Settings{
		Lifetime: -1, AbsoluteLifetime: -2, EmptyLifetime: -1, LockLease: -1, LockWait: -1, GraceMax: -1,
		MaxKeys: -1, MaxValue: -1, MaxBytes: -1, MaxSessions: -1, MaxTotalBytes: -1, MaxWaiters: -1,
	}
	reported := map[string]bool{}
	for _, err := range bad.Validate() {
		reported[err.Field] = true
		if !strings.Contains(err.Error(), err.Field+": ") || !strings.Contains(err.Problem, "allowed: ") {
			t.Errorf("%v: the field or the allowed range is missing", err)
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Settings]()) {
		if want := field.Name != "Strict"; reported[field.Name] != want {
			t.Errorf("%s: reported = %t, want %t", field.Name, reported[field.Name], want)
		}
	}
	short := DefaultSettings()
	short.AbsoluteLifetime = short.Lifetime - time.Second
	if errs := short.Validate(); len(errs) != 1 || errs[0].Field != "AbsoluteLifetime" {
		t.Errorf("absolute lifetime shorter than the idle lifetime: %v", errs)
	}
}
