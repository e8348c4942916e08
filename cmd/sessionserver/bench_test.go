package main

import (
	"strings"
	"testing"
	"time"
)

// TestRedisRelease compares the script that releases locks with that of phpredis, whose library has this sum.
func TestRedisRelease(t *testing.T) {
	if want := "b70c2384248f88e6b75b9f89241a180f856ad852"; redisReleaseSum != want {
		t.Errorf("the sum of the script is %s, want %s", redisReleaseSum, want)
	}
}

// TestRedisDSN checks that an invalid DSN is refused without its secret.
func TestRedisDSN(t *testing.T) {
	for _, dsn := range []string{"tls://u:hush@localhost", "redis://u:hush@", "redis://u:hush@local host", "hush",
		"redis://u:hush@localhost:x"} {
		_, err := dialRedis(t.Context(), dsn, time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), "want redis://HOST") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}

func TestParseStat(t *testing.T) {
	const stat = "17 (a ) name) S 1 17 17 0 -1 4194560 93 5 0 0 %s 20 0 9 0 3450705 3133440 362 18446744073709551615"
	for times, want := range map[string]time.Duration{
		"123 45 6 7": 1810 * time.Millisecond, // of the process and of its ended children
		"0 0 0 0":    0,
	} {
		if got, err := parseStat(strings.Replace(stat, "%s", times, 1)); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", times, got, err, want)
		}
	}
	for _, invalid := range []string{"", "17 (name) S 1", strings.Replace(stat, "%s", "1 2 x 4", 1)} {
		if got, err := parseStat(invalid); err == nil {
			t.Errorf("%q: %v, want an error", invalid, got)
		}
	}
}

// TestServerPID checks the error where the processor time of a process cannot be read.
func TestServerPID(t *testing.T) {
	_, err := cpuTime(-1)
	if err == nil || !strings.Contains(err.Error(), "--server-pid needs Linux") {
		t.Error(err)
	}
}
