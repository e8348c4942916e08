package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestValues(t *testing.T) {
	testManager(t, func(f *fixture) {
		_, s := f.new("b", "1", "a", "", "\xff\r\n|", "\x00")
		f.wantValues(s, "b", "1", "a", "", "\xff\r\n|", "\x00") // in the order in which the keys were added
		f.put(s, "b", "2")
		f.wantValues(s, "b", "2", "a", "", "\xff\r\n|", "\x00")
		removed, err := s.Remove([]byte("b"))
		f.ok(err)
		f.equal("removed", removed, true)
		removed, err = s.Remove([]byte("b"))
		f.ok(err)
		f.equal("removed", removed, false)
		_, err = s.Get([]byte("b"))
		f.wantErr(err, ErrNoKey)
		f.wantErr(s.Expire([]byte("b"), time.Second), ErrNoKey)
		f.ok(s.Abort())
	})
}

func TestKeys(t *testing.T) {
	testManager(t, func(f *fixture) {
		_, s := f.new(strings.Repeat("k", KeyMax), "v")
		for _, key := range []string{"a\x00b", strings.Repeat("k", KeyMax+1)} {
			_, getErr := s.Get([]byte(key))
			_, removeErr := s.Remove([]byte(key))
			fill := func(put func(key, value []byte) error) error { return put([]byte(key), nil) }
			for _, err := range []error{
				getErr, removeErr, s.Put([]byte(key), nil), s.Expire([]byte(key), 0), s.PutMany(fill), s.Replace(fill),
			} {
				f.wantErr(err, ErrBadKey)
			}
		}
		f.wantValues(s, strings.Repeat("k", KeyMax), "v")
		f.ok(s.Abort())
	})
}

// TestEmptyKey: the empty key is valid and survives a save.
func TestEmptyKey(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s := f.new("", "hello", "a", "1")
		f.wantValues(s, "", "hello", "a", "1")
		f.ok(s.Close(ctx))
		f.wantSaved(id, "", "hello", "a", "1")
		s = f.open(id, Update)
		f.ok(s.Expire(nil, time.Minute))
		removed, err := s.Remove([]byte(""))
		f.ok(err)
		f.equal("removed", removed, true)
		_, err = s.Get(nil)
		f.wantErr(err, ErrNoKey)
		f.ok(s.Close(ctx))
		f.wantSaved(id, "a", "1")
	})
}

// fill returns a function that puts these keys and values.
func fill(pairs ...string) func(func(key, value []byte) error) error {
	return func(put func(key, value []byte) error) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := put([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestReplaceRemovesOtherValues(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("a", "1", "b", "2")
		s := f.open(id, ReadWrite)
		f.ok(s.Replace(fill("c", "3", "a", "4")))
		f.wantValues(s, "c", "3", "a", "4")
		f.wantSaved(id, "a", "1", "b", "2")
		f.ok(s.Close(ctx))
		f.wantSaved(id, "c", "3", "a", "4")
		s = f.open(id, ReadWrite)
		f.ok(s.Replace(fill()))
		f.ok(s.Close(ctx))
		f.wantSaved(id)
	})
}

func TestPutManyKeepsOtherValues(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("a", "1", "b", "2")
		s := f.open(id, ReadWrite)
		f.ok(s.PutMany(fill("c", "3", "a", "4")))
		f.wantValues(s, "a", "4", "b", "2", "c", "3")
		f.ok(s.Close(ctx))
		f.wantSaved(id, "a", "4", "b", "2", "c", "3")
	})
}

func TestReplaceWhereKeepsValuesThatDoNotMatch(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s := f.new("my.a", "1", "other", "2", "my.b", "3")
		f.ok(s.Expire([]byte("other"), time.Minute))
		match := func(key []byte) bool { return strings.HasPrefix(string(key), "my.") }
		f.ok(s.ReplaceWhere(match, fill("my.c", "4")))
		f.wantValues(s, "other", "2", "my.c", "4")
		f.ok(s.Close(ctx))
		f.wantSaved(id, "other", "2", "my.c", "4")
		sleep(time.Minute)
		f.wantSaved(id, "my.c", "4") // the other value kept its own lifetime
	})
}

func TestRefusedPutManyChangesNothing(t *testing.T) {
	errFill := errors.New("fill failed")
	for name, change := range map[string]func(*Session, func(func(key, value []byte) error) error) error{
		"put many": (*Session).PutMany,
		"replace":  (*Session).Replace,
		"replace where": func(s *Session, fill func(func(key, value []byte) error) error) error {
			return s.ReplaceWhere(func(key []byte) bool { return key[0] == 'a' }, fill)
		},
	} {
		t.Run(name, func(t *testing.T) {
			testManager(t, func(f *fixture) {
				f.settings(func(s *Settings) { s.MaxValue = 10 })
				id := f.saved("a", "1", "b", "2")
				s := f.open(id, ReadWrite)
				f.wantErr(change(s, fill("a", "3", "c", "4", "d", "much too long")), ErrTooLarge)
				f.wantErr(change(s, fill("a", "3", "a\x00b", "4")), ErrBadKey)
				f.wantErr(change(s, func(put func(key, value []byte) error) error {
					f.ok(put([]byte("a"), []byte("3")))
					return errFill
				}), errFill)
				f.wantValues(s, "a", "1", "b", "2")
				st, err := s.Stat()
				f.ok(err)
				f.equal("bytes", st.Bytes, 4)
				f.ok(s.Close(ctx))
				f.wantSaved(id, "a", "1", "b", "2")
				f.equal("saves", f.count(Saved), 0) // the session is unchanged
			})
		})
	}
}

func TestLimits(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxKeys, s.MaxValue, s.MaxBytes = 3, 10, 20 })
		_, s := f.new("a", "0123456789", "b", "01234567") // 20 bytes
		f.wantErr(s.Put([]byte("c"), nil), ErrTooLarge)
		f.wantErr(s.Put([]byte("b"), []byte("012345678")), ErrTooLarge)
		f.wantErr(s.Put([]byte("b"), []byte("0123456789x")), ErrTooLarge)
		f.wantValues(s, "a", "0123456789", "b", "01234567")
		f.put(s, "b", "0123456", "a", "", "c", "") // smaller values make room; keys count as well
		f.wantErr(s.Put([]byte("d"), nil), ErrTooLarge)
		f.put(s, "c", "x")
		f.wantErr(s.Replace(fill("a", "0123456789", "b", "0123456789")), ErrTooLarge)
		f.ok(s.Replace(fill("a", "0123456789", "b", "01234567")))
		f.wantErr(s.PutMany(fill("b", "", "c", "", "d", "")), ErrTooLarge)
		f.ok(s.Close(ctx))
	})
}

func TestExpiredValuesTakeNoRoom(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxKeys, s.MaxBytes = 2, 10 })
		_, s := f.new("a", "12345", "b", "12")
		f.ok(s.Expire([]byte("a"), time.Second))
		f.wantErr(s.Put([]byte("c"), []byte("1234")), ErrTooLarge)
		sleep(time.Second)
		f.put(s, "c", "1234")
		f.wantValues(s, "b", "12", "c", "1234")
		f.ok(s.Close(ctx))
	})
}

func TestSessionAboveALoweredLimitMayShrink(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("a", "0123456789", "b", "0123456789", "c", "0123456789")
		f.settings(func(s *Settings) { s.MaxKeys, s.MaxBytes = 2, 15 })
		s := f.open(id, ReadWrite)
		f.wantErr(s.Put([]byte("a"), []byte("0123456789x")), ErrTooLarge)
		f.wantErr(s.Put([]byte("d"), nil), ErrTooLarge)
		f.put(s, "a", "012345678")
		f.ok(s.Replace(fill("a", "012345678", "b", "", "c", "0123456789"))) // above both limits, but smaller
		f.wantErr(s.Replace(fill("a", "012345678", "b", "x", "c", "0123456789")), ErrTooLarge)
		f.ok(s.ReplaceWhere(func(key []byte) bool { return key[0] == 'b' }, fill("b", "")))
		f.ok(s.Close(ctx))
		f.wantSaved(id, "a", "012345678", "c", "0123456789", "b", "")
		s = f.open(id, ReadWrite)
		_, err := s.Remove([]byte("c"))
		f.ok(err)
		f.put(s, "b", "0")
		f.ok(s.Close(ctx))
	})
}

// TestMaximumNumberOfKeys: however high a tenant's limit is, every saved session can be read again.
func TestMaximumNumberOfKeys(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.tenant = &Tenant{Name: "acme", Settings: f.tenant.Settings}
		f.tenant.Settings.MaxKeys = 10 * keysMax
		id, s := f.new()
		for i := range keysMax {
			f.put(s, fmt.Sprint(i), "")
		}
		f.wantErr(s.Put([]byte("one more"), nil), ErrTooLarge)
		f.ok(s.Close(ctx))
		f.equal("keys", len(f.peek(id).rec.values.list), keysMax)
	})
}

func TestExpire(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s := f.new("a", "1", "b", "2", "c", "3")
		for _, key := range []string{"a", "b", "c"} {
			f.ok(s.Expire([]byte(key), time.Minute))
		}
		f.ok(s.Expire([]byte("b"), 0)) // removes the value's lifetime
		f.put(s, "c", "4")             // removes it as well
		sleep(time.Minute - time.Millisecond)
		f.wantValues(s, "a", "1", "b", "2", "c", "4")
		sleep(time.Millisecond)
		f.wantValues(s, "b", "2", "c", "4")
		_, err := s.Get([]byte("a"))
		f.wantErr(err, ErrNoKey)
		f.wantErr(s.Expire([]byte("a"), 0), ErrNoKey)
		removed, err := s.Remove([]byte("a"))
		f.ok(err)
		f.equal("removed", removed, false)
		f.ok(s.Expire([]byte("b"), time.Minute))
		f.ok(s.Close(ctx))

		snap := f.open(id, Snapshot)
		f.wantValues(snap, "b", "2", "c", "4")
		sleep(time.Minute)
		f.wantValues(snap, "c", "4")
		f.ok(snap.Close(ctx))
		st, err := f.peek(id).Stat()
		f.ok(err)
		f.equal("keys", st.Keys, 1)
		f.equal("bytes", st.Bytes, 2)

		s = f.open(id, ReadWrite)
		f.wantErr(s.Expire([]byte("c"), -time.Second), ErrBadDuration)
		f.wantErr(s.Expire([]byte("c"), LifetimeMax+1), ErrBadDuration)
		f.ok(s.Abort())
	})
}
