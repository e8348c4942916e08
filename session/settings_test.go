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
		Lifetime: -1, AbsoluteLifetime: -2, FreshLifetime: -1, LockLease: -1, LockWait: -1, GraceMax: -1,
		MaxKeys: -1, MaxValue: -1, MaxBytes: -1, MaxSessions: -1, MaxTotalBytes: -1, MaxWaiters: -1,
	}
	said := map[string]bool{}
	for _, err := range bad.Validate() {
		said[err.Field] = true
		if !strings.Contains(err.Error(), err.Field+": ") || !strings.Contains(err.Problem, "allowed: ") {
			t.Errorf("%v does not say what is wrong", err)
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Settings]()) {
		if said[field.Name] == (field.Name == "Strict") {
			t.Errorf("%s: %v", field.Name, said[field.Name])
		}
	}
	short := DefaultSettings()
	short.AbsoluteLifetime = short.Lifetime - time.Second
	if errs := short.Validate(); len(errs) != 1 || errs[0].Field != "AbsoluteLifetime" {
		t.Errorf("an absolute lifetime shorter than the idle one: %v", errs)
	}
}
