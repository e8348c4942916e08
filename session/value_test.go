package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestValues(t *testing.T) {
	play(t, func(f *fixture) {
		_, s := f.new("b", "1", "a", "", "\xff\r\n|", "\x00")
		f.has(s, "b", "1", "a", "", "\xff\r\n|", "\x00") // in the order in which the keys came
		f.put(s, "b", "2")
		f.has(s, "b", "2", "a", "", "\xff\r\n|", "\x00")
		there, err := s.Remove([]byte("b"))
		f.ok(err)
		f.equal("whether it was there", there, true)
		there, err = s.Remove([]byte("b"))
		f.ok(err)
		f.equal("whether it was there", there, false)
		_, err = s.Get([]byte("b"))
		f.is(err, ErrNoKey)
		f.is(s.Expire([]byte("b"), time.Second), ErrNoKey)
		f.ok(s.Abort())
	})
}

func TestKeys(t *testing.T) {
	play(t, func(f *fixture) {
		_, s := f.new(strings.Repeat("k", KeyMax), "v")
		for _, key := range []string{"a\x00b", strings.Repeat("k", KeyMax+1)} {
			_, getErr := s.Get([]byte(key))
			_, removeErr := s.Remove([]byte(key))
			fill := func(put func(key, value []byte) error) error { return put([]byte(key), nil) }
			for _, err := range []error{
				getErr, removeErr, s.Put([]byte(key), nil), s.Expire([]byte(key), 0), s.PutMany(fill), s.Replace(fill),
			} {
				f.is(err, ErrBadKey)
			}
		}
		f.has(s, strings.Repeat("k", KeyMax), "v")
		f.ok(s.Abort())
	})
}

// TestEmptyKey: the empty key is a key like others, also after it was saved.
func TestEmptyKey(t *testing.T) {
	play(t, func(f *fixture) {
		id, s := f.new("", "hello", "a", "1")
		f.has(s, "", "hello", "a", "1")
		f.ok(s.Close(ctx))
		f.holds(id, "", "hello", "a", "1")
		s = f.open(id, Update)
		f.ok(s.Expire(nil, time.Minute))
		there, err := s.Remove([]byte(""))
		f.ok(err)
		f.equal("whether it was there", there, true)
		_, err = s.Get(nil)
		f.is(err, ErrNoKey)
		f.ok(s.Close(ctx))
		f.holds(id, "a", "1")
	})
}

// fill hands over keys and values.
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

func TestReplaceReplacesAll(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("a", "1", "b", "2")
		s := f.open(id, ReadWrite)
		f.ok(s.Replace(fill("c", "3", "a", "4")))
		f.has(s, "c", "3", "a", "4")
		f.holds(id, "a", "1", "b", "2")
		f.ok(s.Close(ctx))
		f.holds(id, "c", "3", "a", "4")
		s = f.open(id, ReadWrite)
		f.ok(s.Replace(fill()))
		f.ok(s.Close(ctx))
		f.holds(id)
	})
}

func TestPutManyLeavesTheOthers(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("a", "1", "b", "2")
		s := f.open(id, ReadWrite)
		f.ok(s.PutMany(fill("c", "3", "a", "4")))
		f.has(s, "a", "4", "b", "2", "c", "3")
		f.ok(s.Close(ctx))
		f.holds(id, "a", "4", "b", "2", "c", "3")
	})
}

func TestReplaceWhereLeavesWhatIsNotMine(t *testing.T) {
	play(t, func(f *fixture) {
		id, s := f.new("my.a", "1", "other", "2", "my.b", "3")
		f.ok(s.Expire([]byte("other"), time.Minute))
		mine := func(key []byte) bool { return strings.HasPrefix(string(key), "my.") }
		f.ok(s.ReplaceWhere(mine, fill("my.c", "4")))
		f.has(s, "other", "2", "my.c", "4")
		f.ok(s.Close(ctx))
		f.holds(id, "other", "2", "my.c", "4")
		sleep(time.Minute)
		f.holds(id, "my.c", "4") // what was left has kept its lifetime
	})
}

func TestRefusedPutOfManyChangesNothing(t *testing.T) {
	mine := errors.New("not for you")
	for name, change := range map[string]func(*Session, func(func(key, value []byte) error) error) error{
		"put many": (*Session).PutMany,
		"replace":  (*Session).Replace,
		"replace where": func(s *Session, fill func(func(key, value []byte) error) error) error {
			return s.ReplaceWhere(func(key []byte) bool { return key[0] == 'a' }, fill)
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(f *fixture) {
				f.settings(func(s *Settings) { s.MaxValue = 10 })
				id := f.saved("a", "1", "b", "2")
				s := f.open(id, ReadWrite)
				f.is(change(s, fill("a", "3", "c", "4", "d", "much too long")), ErrTooLarge)
				f.is(change(s, fill("a", "3", "a\x00b", "4")), ErrBadKey)
				f.is(change(s, func(put func(key, value []byte) error) error {
					f.ok(put([]byte("a"), []byte("3")))
					return mine
				}), mine)
				f.has(s, "a", "1", "b", "2")
				st, err := s.Stat()
				f.ok(err)
				f.equal("bytes", st.Bytes, 4)
				f.ok(s.Close(ctx))
				f.holds(id, "a", "1", "b", "2")
				f.equal("saves", f.count(Saved), 0) // it was not changed
			})
		})
	}
}

func TestLimits(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxKeys, s.MaxValue, s.MaxBytes = 3, 10, 20 })
		_, s := f.new("a", "0123456789", "b", "01234567") // 20 bytes
		f.is(s.Put([]byte("c"), nil), ErrTooLarge)
		f.is(s.Put([]byte("b"), []byte("012345678")), ErrTooLarge)
		f.is(s.Put([]byte("b"), []byte("0123456789x")), ErrTooLarge)
		f.has(s, "a", "0123456789", "b", "01234567")
		f.put(s, "b", "0123456", "a", "", "c", "") // smaller ones, and keys count
		f.is(s.Put([]byte("d"), nil), ErrTooLarge)
		f.put(s, "c", "x")
		f.is(s.Replace(fill("a", "0123456789", "b", "0123456789")), ErrTooLarge)
		f.ok(s.Replace(fill("a", "0123456789", "b", "01234567")))
		f.is(s.PutMany(fill("b", "", "c", "", "d", "")), ErrTooLarge)
		f.ok(s.Close(ctx))
	})
}

func TestExpiredValuesTakeNoRoom(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxKeys, s.MaxBytes = 2, 10 })
		_, s := f.new("a", "12345", "b", "12")
		f.ok(s.Expire([]byte("a"), time.Second))
		f.is(s.Put([]byte("c"), []byte("1234")), ErrTooLarge)
		sleep(time.Second)
		f.put(s, "c", "1234")
		f.has(s, "b", "12", "c", "1234")
		f.ok(s.Close(ctx))
	})
}

func TestSessionOverALoweredLimitMayShrink(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("a", "0123456789", "b", "0123456789", "c", "0123456789")
		f.settings(func(s *Settings) { s.MaxKeys, s.MaxBytes = 2, 15 })
		s := f.open(id, ReadWrite)
		f.is(s.Put([]byte("a"), []byte("0123456789x")), ErrTooLarge)
		f.is(s.Put([]byte("d"), nil), ErrTooLarge)
		f.put(s, "a", "012345678")
		f.ok(s.Replace(fill("a", "012345678", "b", "", "c", "0123456789"))) // still over both, but smaller
		f.is(s.Replace(fill("a", "012345678", "b", "x", "c", "0123456789")), ErrTooLarge)
		f.ok(s.ReplaceWhere(func(key []byte) bool { return key[0] == 'b' }, fill("b", "")))
		f.ok(s.Close(ctx))
		f.holds(id, "a", "012345678", "c", "0123456789", "b", "")
		s = f.open(id, ReadWrite)
		_, err := s.Remove([]byte("c"))
		f.ok(err)
		f.put(s, "b", "0")
		f.ok(s.Close(ctx))
	})
}

// However high a tenant's limit is, nothing is saved that could not be read again.
func TestMoreKeysThanAnyRecordHas(t *testing.T) {
	play(t, func(f *fixture) {
		f.tenant = &Tenant{Name: "acme", Settings: f.tenant.Settings}
		f.tenant.Settings.MaxKeys = 10 * keysMax
		id, s := f.new()
		for i := range keysMax {
			f.put(s, fmt.Sprint(i), "")
		}
		f.is(s.Put([]byte("one more"), nil), ErrTooLarge)
		f.ok(s.Close(ctx))
		f.equal("keys", len(f.peek(id).rec.values.list), keysMax)
	})
}

func TestValueWithALifetimeOfItsOwn(t *testing.T) {
	play(t, func(f *fixture) {
		id, s := f.new("a", "1", "b", "2", "c", "3")
		for _, key := range []string{"a", "b", "c"} {
			f.ok(s.Expire([]byte(key), time.Minute))
		}
		f.ok(s.Expire([]byte("b"), 0)) // taken away again
		f.put(s, "c", "4")             // so does setting the value
		sleep(time.Minute - time.Millisecond)
		f.has(s, "a", "1", "b", "2", "c", "4")
		sleep(time.Millisecond)
		f.has(s, "b", "2", "c", "4")
		_, err := s.Get([]byte("a"))
		f.is(err, ErrNoKey)
		f.is(s.Expire([]byte("a"), 0), ErrNoKey)
		there, err := s.Remove([]byte("a"))
		f.ok(err)
		f.equal("whether it was there", there, false)
		f.ok(s.Expire([]byte("b"), time.Minute))
		f.ok(s.Close(ctx))

		snap := f.open(id, Snapshot)
		f.has(snap, "b", "2", "c", "4")
		sleep(time.Minute)
		f.has(snap, "c", "4")
		f.ok(snap.Close(ctx))
		st, err := f.peek(id).Stat()
		f.ok(err)
		f.equal("keys", st.Keys, 1)
		f.equal("bytes", st.Bytes, 2)

		s = f.open(id, ReadWrite)
		f.is(s.Expire([]byte("c"), -time.Second), ErrBadDuration)
		f.is(s.Expire([]byte("c"), LifetimeMax+1), ErrBadDuration)
		f.ok(s.Abort())
	})
}
